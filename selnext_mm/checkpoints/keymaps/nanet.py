"""Published NA-ResNet and NA-MobileNetV2 classification weights, under our names.

The published names are torchvision's plus ``layerS.B.na.weight2``/``bias2`` (ResNet) and
``features.N.na.weight2``/``bias2`` (MobileNetV2). All of them start with ``module.`` if a parallel
run wrote the file. The other variants in that repository (a spatial gate, embeddings) have other
keys and are refused.
"""

from selnext_mm.checkpoints.keymaps.rules import (
    BATCH_NORM,
    BATCH_NORM_PARTS,
    COUNTER,
    PARAM,
    KeyMapping,
    Rules,
    Shape,
    StateDict,
    check_shapes,
    rename,
    size,
)
from selnext_mm.errors import UserError

# depth -> (whether the blocks are bottlenecks, blocks per stage)
RESNETS = {
    18: (False, (2, 2, 2, 2)),
    34: (False, (3, 4, 6, 3)),
    50: (True, (3, 4, 6, 3)),
    101: (True, (3, 4, 23, 3)),
    152: (True, (3, 8, 36, 3)),
}
# (expansion, channels, blocks) of the stages of MobileNetV2
MOBILENET_STAGES = (
    (1, 16, 1),
    (6, 24, 2),
    (6, 32, 3),
    (6, 64, 4),
    (6, 96, 3),
    (6, 160, 3),
    (6, 320, 1),
)
PARALLEL_PREFIX = 'module.'

RESNET_RULES = Rules(
    renames=(
        (r'((layer[1-4]\.\d+\.)?conv[1-3]\.weight)', r'backbone.\1'),
        (rf'((layer[1-4]\.\d+\.)?bn[1-3]\.{BATCH_NORM})', r'backbone.\1'),
        (rf'(layer[1-4]\.\d+\.downsample\.(0\.weight|1\.{BATCH_NORM}))', r'backbone.\1'),
        (rf'(layer[1-4]\.\d+\.na\.){PARAM}2', r'backbone.\1\2'),
        (rf'fc\.{PARAM}', r'head.fc.\1'),
    )
)


def mobilenet_blocks() -> list[tuple[int, int, int, int, int]]:
    """(number in ``features``, stage, block, expansion, channels) of the 17 blocks."""
    places = [
        (stage, block, expansion, channels)
        for stage, (expansion, channels, count) in enumerate(MOBILENET_STAGES, 1)
        for block in range(count)
    ]
    return [(number, *place) for number, place in enumerate(places, 1)]


def mobilenet_rules() -> Rules:
    renames = [(rf'classifier\.1\.{PARAM}', r'head.fc.\1')]
    for number, name in ((0, 'conv1'), (18, 'conv2')):
        renames.append((rf'features\.{number}\.0\.weight', f'backbone.{name}.conv.weight'))
        renames.append((rf'features\.{number}\.1\.{BATCH_NORM}', rf'backbone.{name}.bn.\1'))
    for number, stage, block, expansion, _ in mobilenet_blocks():
        theirs, ours = rf'features\.{number}\.', f'backbone.layer{stage}.{block}.conv.'
        # Convolution and norm before an activation form one module; the last pair is two modules.
        last = 1 if expansion == 1 else 2
        renames += [
            (rf'{theirs}conv\.([0-{last - 1}])\.0\.weight', rf'{ours}\g<1>.conv.weight'),
            (rf'{theirs}conv\.([0-{last - 1}])\.1\.{BATCH_NORM}', rf'{ours}\g<1>.bn.\g<2>'),
            (rf'{theirs}conv\.{last}\.weight', f'{ours}{last}.conv.weight'),
            (rf'{theirs}conv\.{last + 1}\.{BATCH_NORM}', rf'{ours}{last}.bn.\g<1>'),
            (rf'{theirs}na\.{PARAM}2', rf'{ours}na.\g<1>'),
        ]
    return Rules(renames=tuple(renames))


class Expected(dict):
    """Our names and shapes of a model, added layer by layer."""

    def add(self, conv: str, norm: str, shape: Shape) -> None:
        self[f'backbone.{conv}.weight'] = shape
        for name in BATCH_NORM_PARTS:
            self[f'backbone.{norm}.{name}'] = (shape[0],)
        self[f'backbone.{norm}.{COUNTER}'] = ()

    def add_na(self, name: str) -> None:
        self[f'backbone.{name}.weight'] = self[f'backbone.{name}.bias'] = (1,)

    def add_head(self, classes: int, width: int) -> None:
        self['head.fc.weight'], self['head.fc.bias'] = (classes, width), (classes,)


def expected_resnet(depth: int, width: int = 64, num_classes: int | None = None) -> Expected:
    """Names and shapes of our NA-ResNet; ``num_classes=None`` leaves out the head."""
    bottleneck, blocks = RESNETS[depth]
    shapes = Expected()
    shapes.add('conv1', 'bn1', (width, 3, 7, 7))
    before = width
    for stage, count in enumerate(blocks):
        mid = width * 2**stage
        out = 4 * mid if bottleneck else mid
        for block in range(count):
            name = f'layer{stage + 1}.{block}'
            first, last = (1, 1) if bottleneck else (3, 3)
            shapes.add(f'{name}.conv1', f'{name}.bn1', (mid, before, first, last))
            shapes.add(f'{name}.conv2', f'{name}.bn2', (mid, mid, 3, 3))
            if bottleneck:
                shapes.add(f'{name}.conv3', f'{name}.bn3', (out, mid, 1, 1))
            if block == 0 and (stage or before != out):
                shortcut = f'{name}.downsample'
                shapes.add(f'{shortcut}.0', f'{shortcut}.1', (out, before, 1, 1))
            shapes.add_na(f'{name}.na')
            before = out
    if num_classes is not None:
        shapes.add_head(num_classes, before)
    return shapes


def expected_mobilenet(num_classes: int | None = None) -> Expected:
    """Names and shapes of our NA-MobileNetV2; ``num_classes=None`` leaves out the head."""
    shapes = Expected()
    shapes.add('conv1.conv', 'conv1.bn', (32, 3, 3, 3))
    before = 32
    for _, stage, block, expansion, channels in mobilenet_blocks():
        name, hidden = f'layer{stage}.{block}.conv', before * expansion
        layers = [(hidden, 1, 3, 3), (channels, hidden, 1, 1)]
        if expansion != 1:
            layers.insert(0, (hidden, before, 1, 1))
        for i, shape in enumerate(layers):
            shapes.add(f'{name}.{i}.conv', f'{name}.{i}.bn', shape)
        shapes.add_na(f'{name}.na')
        before = channels
    shapes.add('conv2.conv', 'conv2.bn', (1280, before, 1, 1))
    if num_classes is not None:
        shapes.add_head(num_classes, 1280)
    return shapes


def read_depth(mapped: StateDict) -> int:
    """The depth of the NA-ResNet, from the blocks in ``mapped``.

    Raises:
        UserError: if no depth has these blocks.
    """
    names = {tuple(key.split('.')[1:3]) for key in mapped if key.startswith('backbone.layer')}
    blocks = tuple(sum(stage == f'layer{i}' for stage, _ in names) for i in range(1, 5))
    bottleneck = 'backbone.layer1.0.conv3.weight' in mapped
    for depth, arch in RESNETS.items():
        if arch == (bottleneck, blocks):
            return depth
    raise UserError(
        f'no NA-ResNet has {blocks} blocks in its stages: some are missing or surplus; the '
        f'depths are {", ".join(map(str, RESNETS))}'
    )


def map_nanet(state: StateDict, target: str) -> KeyMapping:
    """Published NA-ResNet and NA-MobileNetV2 weights; for a detector without the head."""
    if state and all(key.startswith(PARALLEL_PREFIX) for key in state):
        state = {key[len(PARALLEL_PREFIX) :]: value for key, value in state.items()}
    mobilenet = any(key.startswith('features.') for key in state)
    mapped, dropped = rename(state, mobilenet_rules() if mobilenet else RESNET_RULES, target)
    num_classes = size(mapped.get('head.fc.weight')) if target == 'classifier' else None
    if mobilenet:
        check_shapes(mapped, expected_mobilenet(num_classes), 'NA-MobileNetV2')
        return KeyMapping(mapped, '', dropped, model='NAMobileNetV2')
    depth = read_depth(mapped)
    width = size(mapped.get('backbone.conv1.weight')) or 64
    check_shapes(mapped, expected_resnet(depth, width, num_classes), f'NA-ResNet-{depth}')
    arguments = f'depth={depth}' if width == 64 else f'depth={depth}, base_channels={width}'
    return KeyMapping(mapped, arguments, dropped, model='NAResNet')
