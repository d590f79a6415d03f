"""Parameters and FLOPs as a paper prints them, and the rounding of its digits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

UNITS = {'params': Decimal('1e6'), 'flops': Decimal('1e9')}


@dataclass(frozen=True)
class PaperFigure:
    """The printed complexity of one config.

    Attributes:
        params: printed parameters in millions, digit for digit.
        flops: printed FLOPs in billions, digit for digit.
        source: table of "A Latency-Efficient Integration of Channel Attention for ConvNets"; after
            "NA, " of "Attention Meets Normalization and Beyond", after "PATNet, " of "Partial
            Convolution Meets Visual Attention".
        counter: which of the two counts of :mod:`selnext_mm.analysis.complexity` the printed FLOPs
            are compared with, ``'macs'`` or ``'flops_mmcv'``.
        exact_params, exact_flops: the accepted counts; the model must have exactly these, whether
            they reproduce the printed ones or not.
        params_counter: ``'params'``, or ``'trainable_params'`` where the paper leaves out frozen
            parameters.
        params_reason, flops_reason: why the printed figure cannot be met; empty where it must be.
        note: further remarks for readers of the row.
        config, options: for a printed model that has no config of its own: the config to start
            from, and the values of ``cfg.model`` to change in it, by dotted key.
        requires: an optional package that is needed to build the model.
    """

    params: str
    flops: str
    source: str
    counter: str
    exact_params: int
    exact_flops: int
    params_counter: str = 'params'
    params_reason: str = ''
    flops_reason: str = ''
    note: str = ''
    config: str = ''
    options: Mapping = field(default_factory=dict)
    requires: str = ''


def printed_interval(text: str) -> tuple[Decimal, Decimal]:
    """The half-open interval [low, high) that rounds to ``text``: '4.5' is [4.45, 4.55)."""
    value = Decimal(text)
    half = Decimal((0, (5,), int(value.as_tuple().exponent) - 1))
    return value - half, value + half


def meets(count: int, text: str, quantity: str) -> bool:
    """Whether ``count``, in the unit of ``quantity`` ('params' or 'flops'), prints as ``text``."""
    low, high = printed_interval(text)
    return low <= Decimal(count) / UNITS[quantity] < high
