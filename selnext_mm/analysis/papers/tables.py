"""Tables 2, 7 and 9 of the SELNeXt paper: ImageNet-1k accuracy and what it costs.

Digits as printed in "A Latency-Efficient Integration of Channel Attention for ConvNets". Latency:
one forward pass on an RTX 2080 Ti, fp32; in Table 2 of 96 images of 224 x 224, while the paper
does not give number and size for the other two.
"""

from selnext_mm.analysis.papers.paper_model import PaperModel
from selnext_mm.analysis.papers.patnet_table import PATNET_CPU, PATNET_GPU

Row = tuple[float, float, float, float]  # params, FLOPs, latency, accuracy


def _sizes(family: str, sizes: str, rows: tuple[Row, ...], config: str = '') -> list[PaperModel]:
    """The rows of a family; ``{}`` in its name stands for the size."""
    return [
        PaperModel(family.format(f'-{size}'), family.format(''), *row, config.format(size.lower()))
        for size, row in zip(sizes, rows, strict=True)
    ]


TABLE2 = (
    *_sizes(
        'Swin{}',
        'TSB',
        ((28, 4.5, 167, 81.2), (50, 8.7, 284, 83.0), (89, 15.4, 413, 83.5)),
    ),
    *_sizes(
        'ConvNeXt{}',
        'TSB',
        ((29, 4.5, 157, 82.1), (50, 8.7, 264, 83.1), (88, 15.4, 394, 83.8)),
    ),
    *_sizes(
        'HorNet{}_7x7',
        'TSB',
        ((22, 4.0, 192, 82.8), (50, 8.8, 333, 83.8), (87, 15.6, 489, 84.2)),
    ),
    *_sizes(
        'HorNet{}_GF',
        'TSB',
        ((23, 3.9, 239, 83.0), (50, 8.7, 397, 84.0), (88, 15.5, 570, 84.3)),
    ),
    *_sizes('ConvNeXt V2{}', 'TB', ((29, 4.5, 212, 82.5), (89, 15.4, 515, 84.3))),
    *_sizes(
        'SELNeXt{}',
        'TSB',
        ((35, 4.5, 160, 82.6), (62, 8.7, 276, 83.8), (110, 15.4, 413, 84.2)),
        'cls/selnext_{}_in1k.py',
    ),
)


def _single(name: str, params: float, flops: float, latency: float, accuracy: float, config=''):
    return PaperModel(name, name, params, flops, latency, accuracy, config)


TABLE7 = (
    _single('Baseline', 5.48, 0.23, 27, 75.78, 'cls/mobilenet_v3_l_se_in1k.py'),
    _single('Baseline - SE', 3.97, 0.22, 25, 74.32, 'cls/mobilenet_v3_l_none_in1k.py'),
    _single('Baseline - SE + GRN', 3.97, 0.22, 30, 74.37, 'cls/mobilenet_v3_l_grn_in1k.py'),
    _single('Baseline - SE + ECA', 3.97, 0.24, 27, 74.82, 'cls/mobilenet_v3_l_eca_in1k.py'),
    _single('Baseline - SE + SELN', 5.49, 0.22, 27, 76.02, 'cls/mobilenet_v3_l_seln_in1k.py'),
    _single('MobileViT-XS', 2.31, 1.05, 102, 74.8),
    _single('EdgeNeXt-XS', 2.33, 0.54, 64, 75.0),
)

_BLOCK = 'cls/ablation/convnext_t_{}_in1k.py'
TABLE9 = (
    _single('Baseline', 28.6, 4.5, 157, 82.1, _BLOCK.format('baseline')),
    _single('Baseline + GRN', 28.6, 4.5, 212, 82.5, _BLOCK.format('grn')),
    _single('Baseline + SE', 35.1, 4.5, 174, 82.41, _BLOCK.format('se')),
    _single('Baseline + SELN', 35.1, 4.5, 175, 82.39, _BLOCK.format('seln')),
    _single('Baseline + SE - LN', 35.1, 4.5, 160, 82.45, _BLOCK.format('se_noln')),
    _single('Baseline + SELN - LN', 35.1, 4.5, 160, 82.55, _BLOCK.format('seln_noln')),
)

TABLES = {
    'table2': TABLE2,
    'table7': TABLE7,
    'table9': TABLE9,
    'patnet-gpu': PATNET_GPU,
    'patnet-cpu': PATNET_CPU,
}
TITLES = {
    'table2': 'Table 2',
    'table7': 'Table 7',
    'table9': 'Table 9',
    'patnet-gpu': "PATNet's Table 1 (ms: 1000 / images per second on a V100)",
    'patnet-cpu': "PATNet's Table 1 (ms: on a CPU)",
}
# The model that the paper compares with in each table.
BASELINES = {
    'table2': 'ConvNeXt-T',
    'table7': 'Baseline',
    'table9': 'Baseline',
    'patnet-gpu': 'FasterNet-T0',
    'patnet-cpu': 'FasterNet-T0',
}
