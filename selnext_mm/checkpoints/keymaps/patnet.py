"""The published PATNet checkpoints ("PartialNet"): their names, our names, and the shapes."""

from selnext_mm.checkpoints.keymaps.rules import (
    BATCH_NORM,
    BATCH_NORM_PARTS,
    NUM_STAGES,
    Arch,
    KeyMapping,
    Rules,
    Shape,
    StateDict,
    check_shapes,
    first_match,
    rename,
    size,
)

NUM_BUCKETS = 81
HEAD_WIDTH = 1280


def _stage_rules() -> list[tuple[str, str]]:
    """In the source, stages have even numbers, and the merging layers before them odd numbers."""
    rules = []
    for i in range(NUM_STAGES):
        if i:
            layer = rf'stages\.{2 * i - 1}\.'
            rules.append((rf'{layer}reduction\.(weight)', rf'backbone.downsample_layers.{i}.0.\1'))
            rules.append((rf'{layer}norm\.{BATCH_NORM}', rf'backbone.downsample_layers.{i}.1.\1'))
        block, ours = rf'stages\.{2 * i}\.blocks\.(\d+)\.', rf'backbone.stages.{i}.\1.'
        for theirs, name in (
            (r'spatial_mixing\.partial_conv3\.(weight)', r'mixer.conv.\2'),
            (r'spatial_mixing\.attn\.cfc1\.(weight)', r'mixer.gate.fc.\2'),
            (rf'spatial_mixing\.attn\.bn\.{BATCH_NORM}', r'mixer.gate.norm.\2'),
            (rf'spatial_mixing\.norm\.{BATCH_NORM}', r'mixer.norm.\2'),
            (r'spatial_mixing\.attn\.qkv\.(weight)', r'mixer.qkv.\2'),
            (r'spatial_mixing\.attn\.proj\.(weight|bias)', r'mixer.proj.\2'),
            (r'spatial_mixing\.attn\.rpe_k\.lookup_table_bias', r'mixer.position.table'),
            (r'mlp\.0\.(weight)', r'expand.\2'),
            (rf'mlp\.1\.{BATCH_NORM}', r'norm.\2'),
            (r'mlp\.3\.(weight)', r'reduce.\2'),
            (r'mlp\.4\.conv_attn\.(weight)', r'spatial.gate.\2'),
            (rf'mlp\.4\.norm\.{BATCH_NORM}', r'spatial.gate_norm.\2'),
            (rf'mlp\.4\.norm2\.{BATCH_NORM}', r'spatial.conv_norm.\2'),
            (r'mlp\.4\.conv\.(weight)', r'spatial.conv.\2'),
        ):
            rules.append((block + theirs, ours + name))
    return rules


PARTIALNET_RULES = Rules(
    renames=(
        (r'patch_embed\.proj\.(weight)', r'backbone.downsample_layers.0.0.\1'),
        (rf'patch_embed\.norm\.{BATCH_NORM}', r'backbone.downsample_layers.0.1.\1'),
        *_stage_rules(),
        # Detection backbones: the norm of stage 2i in the source is the norm of output i here.
        *((rf'norm{2 * i}\.{BATCH_NORM}', rf'backbone.norm{i}.\1') for i in range(NUM_STAGES)),
        (r'avgpool_pre_head\.1\.(weight)', r'neck.conv.\1'),
        (r'head\.(weight|bias)', r'head.fc.\1'),
    )
)

HEAD_ONLY = 'classification neck and head: a detector has none'
OUTPUT_NORM_ONLY = 'norm of a detection output: a classifier has none'
AT_INIT_DETECTION = {
    'backbone.norm{0..3}.*': 'one new BatchNorm per stage output feeds the FPN',
}


def expected_shapes(
    depths: Shape, widths: Shape, heads: int, in_channels: int, spatial: bool
) -> dict[str, Shape]:
    """Names and shapes of the backbone, without the counters of the batch norms."""
    shapes: dict[str, Shape] = {}

    def norm(name: str, n: int) -> None:
        shapes.update({f'{name}.{part}': (n,) for part in BATCH_NORM_PARTS})

    for i, (depth, C) in enumerate(zip(depths, widths, strict=True)):
        layer = f'backbone.downsample_layers.{i}'
        before, patch = (widths[i - 1], 2) if i else (in_channels, 4)
        shapes[f'{layer}.0.weight'] = (C, before, patch, patch)
        norm(f'{layer}.1', C)
        U = C - C // 4
        for j in range(max(depth, 1)):
            block = f'backbone.stages.{i}.{j}'
            shapes[f'{block}.mixer.conv.weight'] = (C // 4, C // 4, 3, 3)
            if i < NUM_STAGES - 1:
                shapes[f'{block}.mixer.gate.fc.weight'] = (U, U, 1, 2)
                norm(f'{block}.mixer.gate.norm', U)
                norm(f'{block}.mixer.norm', U)
            else:
                shapes[f'{block}.mixer.norm.weight'] = shapes[f'{block}.mixer.norm.bias'] = (U,)
                shapes[f'{block}.mixer.qkv.weight'] = (3 * U, U)
                shapes[f'{block}.mixer.proj.weight'] = (U, U)
                shapes[f'{block}.mixer.proj.bias'] = (U,)
                shapes[f'{block}.mixer.position.table'] = (heads, NUM_BUCKETS)
            shapes[f'{block}.expand.weight'] = (2 * C, C, 1, 1)
            norm(f'{block}.norm', 2 * C)
            shapes[f'{block}.reduce.weight'] = (C, 2 * C, 1, 1)
            if spatial:
                D = C // 2
                shapes[f'{block}.spatial.gate.weight'] = (1, C - D, 1, 1)
                shapes[f'{block}.spatial.conv.weight'] = (D, D, 1, 1)
                norm(f'{block}.spatial.gate_norm', C - D)
                norm(f'{block}.spatial.conv_norm', D)
    return shapes


def check(mapped: StateDict, target: str) -> Arch:
    """Check ``mapped`` against the PATNet that its own keys describe; return its architecture.

    Raises:
        UserError: see :func:`check_shapes`.
    """
    depths = [0] * NUM_STAGES
    for key in mapped:
        parts = key.split('.')
        if parts[1] == 'stages':
            depths[int(parts[2])] = max(depths[int(parts[2])], int(parts[3]) + 1)
    layers = [f'backbone.downsample_layers.{i}.0.weight' for i in range(NUM_STAGES)]
    widths = tuple(size(mapped.get(name)) for name in layers)
    table = mapped.get('backbone.stages.3.0.mixer.position.table')
    spatial = any('.spatial.' in key for key in mapped)
    expected = expected_shapes(
        tuple(depths),
        widths,
        heads=size(table),
        in_channels=size(mapped.get(layers[0]), 1),
        spatial=spatial,
    )
    if target == 'classifier':
        classes = size(mapped.get('head.fc.weight'))
        expected['neck.conv.weight'] = (HEAD_WIDTH, widths[-1], 1, 1)
        expected['head.fc.weight'], expected['head.fc.bias'] = (classes, HEAD_WIDTH), (classes,)
    else:
        for i, C in enumerate(widths):
            if any(key.startswith(f'backbone.norm{i}.') for key in mapped):
                expected.update({f'backbone.norm{i}.{part}': (C,) for part in BATCH_NORM_PARTS})
    model = f'PATNet (depths {tuple(depths)}, widths {widths})'
    check_shapes(mapped, expected, model, widths)
    return Arch(tuple(depths), widths, model='PATNet', num_heads=size(table), spatial=spatial)


def map_partialnet(state: StateDict, target: str) -> KeyMapping:
    """Published PATNet weights (``patch_embed``, ``stages.0.blocks.0.spatial_mixing``, ...).

    Classification checkpoints serve both targets. Detection backbones, which have output norms and
    no head, serve detection only.
    """
    taken, dropped = {}, {}
    for key, tensor in state.items():
        hit = first_match(key, PARTIALNET_RULES.renames)
        name = hit[0].expand(hit[1]) if hit else ''
        if target == 'detection' and name.startswith(('neck.', 'head.')):
            dropped[key] = HEAD_ONLY
        elif target == 'classifier' and name.startswith('backbone.norm'):
            dropped[key] = OUTPUT_NORM_ONLY
        else:
            taken[key] = tensor
    # As for a classifier, where nothing more is dropped: no head, and norm3 is an output's norm.
    mapped, _ = rename(taken, PARTIALNET_RULES, 'classifier')
    arch = check(mapped, target)
    new_norms = target == 'detection' and not any(k.startswith('backbone.norm') for k in mapped)
    at_init = dict(AT_INIT_DETECTION) if new_norms else {}
    return KeyMapping(mapped, arch, dropped, at_init, model=arch.model)
