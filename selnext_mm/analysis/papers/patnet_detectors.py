"""Table 2 of PATNet's paper: Mask R-CNN with fifteen backbones, 800 x 1280.

Its FLOPs of the nine detectors with a convolutional backbone are mmcv's count without the last two
layers of the mask head, the deconvolution and the logits: all nine fit to the digit.
"""

from typing import Any

from selnext_mm.analysis.papers.printed import PaperFigure

OURS = 'mask_rcnn/patnet_s_1x_coco.py'
# FLOPs of the deconvolution, its ReLU and the logits, on 100 masks.
MASK_TOP = 6_790_067_200
WITHOUT_TOP = "printed without the mask head's deconvolution and logits (6.79 G)"
RESNET = dict(
    type='ResNet',
    num_stages=4,
    out_indices=(0, 1, 2, 3),
    frozen_stages=1,
    norm_cfg=dict(type='BN', requires_grad=True),
    norm_eval=True,
    style='pytorch',
)
# mmpretrain's PoolFormer counts the steps between the stages, too, and freezes its stem by default.
POOLFORMER = dict(type='mmpretrain.PoolFormer', out_indices=(0, 2, 4, 6), frozen_stages=-1)
PVT = dict(type='PyramidVisionTransformer')
RESNET_WIDTHS, WIDTHS = [256, 512, 1024, 2048], [64, 128, 320, 512]


def detector(params: str, flops: str, exact: tuple[int, int], **known: Any) -> PaperFigure:
    known = {'flops_reason': WITHOUT_TOP, **known}
    return PaperFigure(params, flops, 'PATNet, Table 2', 'flops_mmcv', *exact, **known)


def fasternet(params: str, flops: str, exact: tuple[int, int]) -> PaperFigure:
    return detector(params, flops, exact, requires='timm')


def other(
    params: str, flops: str, exact: tuple[int, int], backbone: dict, widths: list[int], **known: Any
) -> PaperFigure:
    """A backbone without a config here: PATNet-S's config with this backbone."""
    options = {'backbone': {'_delete_': True, **backbone}, 'neck.in_channels': widths}
    return detector(params, flops, exact, config=OURS, options=options, **known)


def resnet(
    params: str, flops: str, exact: tuple[int, int], depth: int, groups: int = 0
) -> PaperFigure:
    """ResNet, or with ``groups`` ResNeXt, whose groups are 4 wide.

    Table 2 gives their trained parameters: the stem and the first stage are frozen.
    """
    backbone = {**RESNET, 'depth': depth}
    if groups:
        backbone |= {'type': 'ResNeXt', 'groups': groups, 'base_width': 4}
    counted = 'trainable_params'
    return other(params, flops, exact, backbone, RESNET_WIDTHS, params_counter=counted)


def pvt(params: str, flops: str, exact: tuple[int, int], macs: str, *depths: int) -> PaperFigure:
    reason = f'how its attention was counted is not stated; with all matrix products {macs} MACs'
    backbone = {**PVT, 'num_layers': list(depths)}
    return other(params, flops, exact, backbone, WIDTHS, flops_reason=reason)


def poolformer(params: str, flops: str, exact: tuple[int, int], arch: str) -> PaperFigure:
    return other(params, flops, exact, {**POOLFORMER, 'arch': arch}, WIDTHS)


def patnet(params: str, flops: str, exact: tuple[int, int], deployed: str, why: str) -> PaperFigure:
    reason = f'deployed {deployed}, and 6.79 less without the layers that other rows leave out'
    return detector(params, flops, exact, params_reason=why, flops_reason=reason)


# In the order of the command: a config, then the models that are variants of it.
TABLE2 = {
    OURS: patnet(
        *('46.9', '216', (46_989_096, 228_941_905_748), '226.3'),
        'with Conv-BN merged 46.970 M: printed cut off instead of rounded, it seems',
    ),
    f'{OURS}, ResNet50': resnet('44.2', '253', (44_170_992, 260_137_547_700), depth=50),
    f'{OURS}, PoolFormer-S24': poolformer('41.0', '233', (41_044_400, 239_889_739_700), 's24'),
    f'{OURS}, PVT-Small': pvt(
        '44.1', '238', (44_138_224, 232_245_259_700), '304.2 G', *(3, 4, 6, 3)
    ),
    f'{OURS}, ResNet101': resnet('63.2', '329', (63_163_120, 336_210_507_700), depth=101),
    f'{OURS}, ResNeXt101-32x4d': resnet(
        '62.8', '333', (62_801_648, 339_956_811_700), depth=101, groups=32
    ),
    f'{OURS}, PoolFormer-S36': poolformer('50.5', '266', (50_518_192, 272_343_371_700), 's36'),
    f'{OURS}, PVT-Medium': pvt(
        '63.9', '295', (63_860_464, 276_631_819_700), '391.5 G', *(3, 4, 18, 3)
    ),
    f'{OURS}, ResNeXt101-64x4d': resnet(
        '101.9', '487', (101_891_824, 493_430_859_700), depth=101, groups=64
    ),
    f'{OURS}, PVT-Large': pvt(
        '81.0', '358', (81_021_680, 327_855_563_700), '493.3 G', *(3, 8, 27, 3)
    ),
    'mask_rcnn/fasternet_s_1x_coco.py': fasternet('49.0', '258', (48_989_936, 265_259_083_700)),
    'mask_rcnn/fasternet_m_1x_coco.py': fasternet('71.2', '344', (71_228_448, 351_177_547_700)),
    'mask_rcnn/patnet_m_1x_coco.py': patnet(
        *('78.2', '295', (79_176_328, 315_123_801_524), '308.4'),
        'no configuration has 78.2 M (without PAT_sp 76.99)',
    ),
    'mask_rcnn/fasternet_l_1x_coco.py': fasternet('110.9', '484', (110_866_416, 491_060_299_700)),
    'mask_rcnn/patnet_l_1x_coco.py': patnet(
        *('122.0', '397', (122_071_048, 427_836_512_820), '415.7'),
        'printed for the model with Conv-BN merged (122.020)',
    ),
}
