"""Parameters and FLOPs as the papers print them, with the rounding that the print implies."""

from dataclasses import dataclass
from decimal import Decimal

UNITS = {'params': Decimal('1e6'), 'flops': Decimal('1e9')}


@dataclass(frozen=True)
class PaperFigure:
    """The printed complexity of one config.

    Attributes:
        params: printed parameters in millions, digit for digit.
        flops: printed FLOPs in billions, digit for digit.
        source: table of "A Latency-Efficient Integration of Channel Attention for ConvNets".
        counter: which of the two counts of :mod:`selnext_mm.analysis.complexity` the print is
            compared with, ``'macs'`` or ``'flops_mmcv'``.
        exact_params: the count that reproduces the printed one; the model must have it exactly.
        reason: why a figure cannot be met; empty where it must be.
    """

    params: str
    flops: str
    source: str
    counter: str
    exact_params: int
    reason: str = ''


def printed_interval(text: str) -> tuple[Decimal, Decimal]:
    """The half-open interval [low, high) that rounds to ``text``: '4.5' is [4.45, 4.55)."""
    value = Decimal(text)
    half = Decimal((0, (5,), value.as_tuple().exponent - 1))
    return value - half, value + half


def meets(count: int, text: str, quantity: str) -> bool:
    """Whether ``count``, in the unit of ``quantity`` ('params' or 'flops'), prints as ``text``."""
    low, high = printed_interval(text)
    return low <= Decimal(count) / UNITS[quantity] < high


# Table 5 prints the classic count of the OpenMMLab tools (see complexity.py): the MACs alone of
# the cascades, 740.2, 826.4 and 963.5 G, would be printed one lower.
PAPER_FIGURES = {
    'cls/selnext_t_in1k.py': PaperFigure('35', '4.5', 'Table 2', 'macs', 35_126_656),
    'cls/selnext_s_in1k.py': PaperFigure('62', '8.7', 'Table 2', 'macs', 62_140_480),
    'cls/selnext_b_in1k.py': PaperFigure('110', '15.4', 'Table 2', 'macs', 109_715_208),
    'mask_rcnn/selnext_t_3x_coco.py': PaperFigure('55', '262', 'Table 5', 'flops_mmcv', 54_632_904),
    'cascade_mask_rcnn/selnext_t_3x_coco.py': PaperFigure(
        '92', '741', 'Table 5', 'flops_mmcv', 92_468_106
    ),
    'cascade_mask_rcnn/selnext_s_3x_coco.py': PaperFigure(
        '119', '827', 'Table 5', 'flops_mmcv', 119_481_930
    ),
    'cascade_mask_rcnn/selnext_b_3x_coco.py': PaperFigure(
        '167', '964', 'Table 5', 'flops_mmcv', 166_923_986
    ),
}
