"""The tables as data: a new row or a new suite is a line here."""

from dataclasses import replace

from _rows import Row, Suite

MM = 'mmpretrain::'
CONVNEXT_T = f'{MM}convnext/convnext-tiny_32xb128_in1k.py'
CONVNEXT_V2_T = f'{MM}convnext_v2/convnext-v2-tiny_32xb32_in1k.py'
# The paper has one latency, a GPU's; it stands beside that of a CPU, too.
RTX = ('s', 'RTX 2080 Ti, batch 96, fp32')
SELN_PAPER = {'cuda': RTX, 'cpu': RTX}
PATNET_PAPER = {
    'cuda': ('images/s', 'V100, batch 256'),
    'cpu': ('ms', 'EPYC 73F3, one core, batch not stated'),
}


def seln(name: str, source: str, printed: str, baseline: str = '', **kwargs) -> Row:
    """A row of "A Latency-Efficient Integration of Channel Attention for ConvNets"."""
    return Row(name, source, baseline, {'cuda': printed, 'cpu': printed}, **kwargs)


def peer(name: str, source: str, v100: str, cpu: str, side: int = 224, **options) -> Row:
    """A row of Table 9 of "Partial Convolution Meets Visual Attention"."""
    size = None if side == 224 else (side, side)
    return Row(name, source, paper={'cuda': v100, 'cpu': cpu}, size=size, options=options)


# SELNeXt without its fused blocks, in the operations that its peers are made of.
PLAIN = 'layer by layer'
PLAIN_OPTIONS = {'backbone.impl': 'reference'}

# Table 2: ratios within a size.
TABLE_2 = tuple(
    seln(name, source, printed, f'ConvNeXt-{group}')
    for group, rows in {
        'T': (
            ('Swin-T', f'{MM}swin_transformer/swin-tiny_16xb64_in1k.py', '0.167 ± 0.001'),
            ('ConvNeXt-T', CONVNEXT_T, '0.157 ± 0.000'),
            ('HorNet-T_7x7', f'{MM}hornet/hornet-tiny_8xb128_in1k.py', '0.192 ± 0.001'),
            ('HorNet-T_GF', f'{MM}hornet/hornet-tiny-gf_8xb128_in1k.py', '0.239 ± 0.000'),
            ('ConvNeXt V2-T', CONVNEXT_V2_T, '0.212 ± 0.001'),
            ('SELNeXt-T', 'cls/selnext_t_in1k.py', '0.160 ± 0.001'),
        ),
        'S': (
            ('Swin-S', f'{MM}swin_transformer/swin-small_16xb64_in1k.py', '0.284 ± 0.001'),
            ('ConvNeXt-S', f'{MM}convnext/convnext-small_32xb128_in1k.py', '0.264 ± 0.002'),
            ('HorNet-S_7x7', f'{MM}hornet/hornet-small_8xb64_in1k.py', '0.333 ± 0.003'),
            ('HorNet-S_GF', f'{MM}hornet/hornet-small-gf_8xb64_in1k.py', '0.397 ± 0.004'),
            ('SELNeXt-S', 'cls/selnext_s_in1k.py', '0.276 ± 0.001'),
        ),
        'B': (
            ('Swin-B', f'{MM}swin_transformer/swin-base_16xb64_in1k.py', '0.413 ± 0.002'),
            ('ConvNeXt-B', f'{MM}convnext/convnext-base_32xb128_in1k.py', '0.394 ± 0.002'),
            ('HorNet-B_7x7', f'{MM}hornet/hornet-base_8xb64_in1k.py', '0.489 ± 0.002'),
            ('HorNet-B_GF', f'{MM}hornet/hornet-base-gf_8xb64_in1k.py', '0.570 ± 0.006'),
            ('ConvNeXt V2-B', f'{MM}convnext_v2/convnext-v2-base_32xb32_in1k.py', '0.515 ± 0.001'),
            ('SELNeXt-B', 'cls/selnext_b_in1k.py', '0.413 ± 0.003'),
        ),
    }.items()
    for name, source, printed in rows
) + tuple(
    Row(
        f'SELNeXt-{size}, {PLAIN}',
        f'cls/selnext_{size.lower()}_in1k.py',
        f'ConvNeXt-{size}',
        options=PLAIN_OPTIONS,
    )
    for size in 'TSB'
)

# Table 7. The FLOPs that it prints for its last two rows, 1.05 and 0.54 G, are those at 256x256,
# the size that both are published with; at which one it timed them it does not say.
MOBILE = 'MobileNetV3-L SE'
TABLE_7 = (
    seln(MOBILE, 'cls/mobilenet_v3_l_se_in1k.py', '0.027 ± 0.000'),
    seln('MobileNetV3-L no attention', 'cls/mobilenet_v3_l_none_in1k.py', '0.025 ± 0.001', MOBILE),
    seln('MobileNetV3-L GRN', 'cls/mobilenet_v3_l_grn_in1k.py', '0.030 ± 0.000', MOBILE),
    seln('MobileNetV3-L ECA', 'cls/mobilenet_v3_l_eca_in1k.py', '0.027 ± 0.000', MOBILE),
    seln('MobileNetV3-L SELN', 'cls/mobilenet_v3_l_seln_in1k.py', '0.027 ± 0.000', MOBILE),
    *(
        seln(f'{name} at {side}', f'{MM}{source}', printed, MOBILE, size=(side, side))
        for name, source, printed in (
            ('MobileViT-XS', 'mobilevit/mobilevit-xsmall_8xb128_in1k.py', '0.102 ± 0.001'),
            ('EdgeNeXt-XS', 'edgenext/edgenext-xsmall_8xb256_in1k.py', '0.064 ± 0.001'),
        )
        for side in (256, 224)
    ),
)

# Table 9. Its models are ours with other blocks; the last three rows are not in the table.
BLOCK = 'ConvNeXt-T block'
TABLE_9 = (
    seln(BLOCK, 'cls/ablation/convnext_t_baseline_in1k.py', '0.157 ± 0.001'),
    *(
        seln(f'{BLOCK} {name}', f'cls/ablation/convnext_t_{key}_in1k.py', printed, BLOCK)
        for name, key, printed in (
            ('+ GRN', 'grn', '0.212 ± 0.001'),
            ('+ SE', 'se', '0.174 ± 0.001'),
            ('+ SELN', 'seln', '0.175 ± 0.001'),
            ('+ SE - LN', 'se_noln', '0.160 ± 0.001'),
            ('+ SELN - LN', 'seln_noln', '0.160 ± 0.001'),
        )
    ),
    Row(
        f'{BLOCK} + SELN - LN, {PLAIN}',
        'cls/ablation/convnext_t_seln_noln_in1k.py',
        BLOCK,
        options=PLAIN_OPTIONS,
    ),
    Row('ConvNeXt-T of mmpretrain', CONVNEXT_T, BLOCK),
    Row('ConvNeXt V2-T of mmpretrain', CONVNEXT_V2_T, BLOCK),
)


def widened(factor: float, channels: int) -> dict:
    return {'backbone.widen_factor': factor, 'head.in_channels': channels}


# PATNet's Table 9, ratios within a size; peers at the size that their printed FLOPs belong to.
SHUFFLENET_V2 = f'{MM}shufflenet_v2/shufflenet-v2-1x_16xb64_in1k.py'
MOBILENET_V2 = f'{MM}mobilenet_v2/mobilenet-v2_8xb32_in1k.py'
EFFICIENTNET = f'{MM}efficientnet/efficientnet-b{{}}_8xb32_in1k.py'
MOBILEVIT = f'{MM}mobilevit/mobilevit-{{}}_8xb128_in1k.py'
POOLFORMER = f'{MM}poolformer/poolformer-{{}}_32xb128_in1k.py'
SWIN = f'{MM}swin_transformer/swin-{{}}_16xb64_in1k.py'
CONVNEXT = f'{MM}convnext/convnext-{{}}_32xb128_in1k.py'
PATNET_PEERS = {
    'T0': (
        peer('ShuffleNetV2 x1.5', SHUFFLENET_V2, '5315', '13.7', **widened(1.5, 1024)),
        peer('MobileNetV2', MOBILENET_V2, '3924', '13.7'),
        peer('MobileViT-XXS', MOBILEVIT.format('xxsmall'), '2900', '16.7', 256),
        peer('MobileViTv2-0.5', 'timm::mobilevitv2_050', '3094', '15.8', 256),
    ),
    'T1': (
        peer('EfficientNet-B0', EFFICIENTNET.format(0), '2934', '22.7'),
        peer('GhostNet x1.3', 'timm::ghostnet_130', '3788', '16.7'),
        peer('ShuffleNetV2 x2', SHUFFLENET_V2, '4290', '22.6', **widened(2.0, 2048)),
        peer('MobileNetV2 x1.4', MOBILENET_V2, '2615', '21.7', **widened(1.4, 1792)),
        peer('EfficientViT-B1-192', 'timm::efficientvit_b1', '4072', '19.3', 192),
        peer('MobileViT-XS', MOBILEVIT.format('xsmall'), '1663', '32.8', 256),
    ),
    'T2': (
        peer('EfficientNet-B1', EFFICIENTNET.format(1), '1730', '35.5', 240),
        peer('ResNet50', f'{MM}resnet/resnet50_8xb32_in1k.py', '1258', '94.8'),
        peer('PoolFormer-S12', POOLFORMER.format('s12'), '1927', '56.1'),
        peer('MobileViT-S', MOBILEVIT.format('small'), '1219', '52.4', 256),
        peer('MobileViTv2-1.0', 'timm::mobilevitv2_100', '1391', '41.5', 256),
        peer('EfficientViT-B1', 'timm::efficientvit_b1', '3072', '25.7'),
    ),
    'S': (
        peer('EfficientNet-B3', EFFICIENTNET.format(3), '768', '73.5', 300),
        peer('ConvNeXt-T', CONVNEXT_T, '902', '99.4'),
        peer('PoolFormer-S36', POOLFORMER.format('s36'), '675', '152.4'),
        peer('MobileViTv2-1.5', 'timm::mobilevitv2_150', '812', '104.4', 256),
        peer('MobileViTv2-2.0', 'timm::mobilevitv2_200', '551', '103.7', 256),
        peer('Swin-T', SWIN.format('tiny'), '808', '107.1'),
    ),
    'M': (
        peer('EfficientNet-B4', EFFICIENTNET.format(4), '356', '156.9', 380),
        peer('ConvNeXt-S', CONVNEXT.format('small'), '510', '185.5'),
        peer('PoolFormer-M36', POOLFORMER.format('m36'), '444', '244.3'),
        peer('Swin-S', SWIN.format('small'), '477', '199.1'),
    ),
    'L': (
        peer('EfficientNet-B5', EFFICIENTNET.format(5), '246', '333.3', 456),
        peer('ConvNeXt-B', CONVNEXT.format('base'), '322', '317.1'),
        peer('PoolFormer-M48', POOLFORMER.format('m48'), '335', '322.3'),
        peer('Swin-B', SWIN.format('base'), '315', '333.8'),
    ),
}
# arch: (images/s of a V100, ms of a CPU) of FasterNet and of PATNet
PATNET_FIGURES = {
    'T0': (('8546', '10.5'), ('7777', '12.2')),
    'T1': (('4648', '22.2'), ('4403', '21.5')),
    'T2': (('2455', '43.7'), ('3074', '35.2')),
    'S': (('1261', '96.0'), ('1559', '72.5')),
    'M': (('621', '181.6'), ('799', '155.3')),
    'L': (('384', '312.5'), ('426', '272.5')),
}


def patnet_tier(arch: str) -> tuple[Row, ...]:
    """FasterNet, PATNet as it is trained and as the paper timed it, merged; then the peers."""
    fasternet, patnet = PATNET_FIGURES[arch]
    config = f'cls/{{}}_{arch.lower()}_in1k.py'
    rows = (
        peer(f'FasterNet-{arch}', config.format('fasternet'), *fasternet),
        Row(f'PATNet-{arch}', config.format('patnet')),
        peer(f'PATNet-{arch}', config.format('patnet'), *patnet).with_variants('deploy'),
        *PATNET_PEERS[arch],
    )
    return tuple(replace(row, baseline=f'FasterNet-{arch}') for row in rows)


# Backbones alone, which need no classifier and so no config: ours, and peers of mmpretrain with
# the arguments of its configs.
BACKBONES = {
    'ConvNeXt-{}': dict(type='mmpretrain.ConvNeXt'),
    'SELNeXt-{}': dict(type='SELNeXt'),
}
T_BACKBONES = {
    'ConvNeXt V2-T': dict(
        type='mmpretrain.ConvNeXt', arch='tiny', use_grn=True, layer_scale_init_value=0.0
    ),
    'HorNet-T': dict(type='mmpretrain.HorNet', arch='tiny'),
    'Swin-T': dict(type='mmpretrain.SwinTransformer', arch='tiny'),
}
# Four maps for an FPN.
MAPS = dict(out_indices=(0, 1, 2, 3))


def backbones(arch: str, **options) -> dict[str, Row]:
    """ConvNeXt and SELNeXt of a size, the first being the second's baseline."""
    letter = arch[0].upper()
    rows = {}
    for name, source in BACKBONES.items():
        name = f'{name.format(letter)} backbone'
        source = dict(source, arch=arch, **options)
        rows[source['type']] = Row(name, source, f'ConvNeXt-{letter} backbone')
    return rows


def fast(**options) -> tuple[Row, ...]:
    """SELNeXt against ConvNeXt, T in all variants, then S, B and other T models."""
    convnext, selnext = backbones('tiny', **options).values()
    rows = [
        *(convnext, convnext.with_variants('channels_last')),
        *(selnext, selnext.with_variants('channels_last'), selnext.with_variants('deploy')),
        *(convnext.with_variants('compile'), convnext.with_variants('compile', 'channels_last')),
        *(selnext.with_variants('compile'), selnext.with_variants('deploy', 'compile')),
    ]
    rows.append(
        replace(
            selnext, name=f'{selnext.name}, {PLAIN}', source=dict(selnext.source, impl='reference')
        )
    )
    for arch in ('small', 'base'):
        convnext, selnext = backbones(arch, **options).values()
        rows += [convnext, convnext.with_variants('channels_last')]
        rows += [selnext, selnext.with_variants('deploy')]
        rows += [convnext.with_variants('compile'), selnext.with_variants('deploy', 'compile')]
    maps = {k: v for k, v in options.items() if k == 'out_indices'}
    for name, source in T_BACKBONES.items():
        more = options if source['type'].endswith(('ConvNeXt', 'HorNet')) else maps
        peer_row = Row(f'{name} backbone', dict(source, **more), 'ConvNeXt-T backbone')
        rows += [peer_row, peer_row.with_variants('compile')]
    return tuple(rows)


def trainable(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row for row in rows if 'deploy' not in row.variants)


SUITES = {
    'table2': Suite('SELNeXt, Table 2: latency', TABLE_2, paper=SELN_PAPER),
    'table7': Suite('SELNeXt, Table 7: latency of MobileNetV3', TABLE_7, paper=SELN_PAPER),
    'table9': Suite('SELNeXt, Table 9: latency of blocks', TABLE_9, paper=SELN_PAPER),
    'patnet': Suite(
        'PATNet, Table 9: throughput and latency',
        tuple(row for arch in PATNET_FIGURES for row in patnet_tier(arch)),
        batch=dict(cpu=1, cuda=256),
        threads=1,
        paper=PATNET_PAPER,
    ),
    'fast': Suite('SELNeXt against ConvNeXt: backbones', fast()),
    'fast-detection': Suite(
        'SELNeXt against ConvNeXt: backbones of a detector',
        fast(**MAPS, gap_before_final_norm=False),
        size=(800, 1280),
        batch=dict(cpu=1, cuda=1),
    ),
    'toy': Suite(
        'Toy backbones: that the programs work',
        tuple(
            row.with_variants(*variants)
            for row in backbones('atto').values()
            for variants in ((), ('channels_last',), ('deploy',), ('compile',))
            if 'SELNeXt' in row.name or variants != ('deploy',)
        ),
        size=(64, 64),
        batch=dict(cpu=2, cuda=2),
    ),
    'training': Suite(
        'SELNeXt against ConvNeXt: training', trainable(fast()), batch=dict(cpu=8, cuda=64)
    ),
}
