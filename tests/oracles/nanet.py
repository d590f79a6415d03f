"""NA-ResNet and NA-MobileNetV2 on the published key names, importing nothing of ours.

The names are torchvision's plus ``layerS.B.na.weight2``/``bias2`` (ResNet) and
``features.N.na.weight2``/``bias2`` (MobileNetV2). Evaluation mode: batch norm on its stored
statistics.
"""

import torch

from tests.oracles.na import na

RESNETS = {
    18: ('basic', (2, 2, 2, 2)),
    34: ('basic', (3, 4, 6, 3)),
    50: ('bottleneck', (3, 4, 6, 3)),
    101: ('bottleneck', (3, 4, 23, 3)),
    152: ('bottleneck', (3, 8, 36, 3)),
}
# expansion, channels, blocks, stride of the first block
MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
NORM = ('weight', 'bias', 'running_mean', 'running_var')


def _conv_norm(rows, conv, norm, shape):
    rows[f'{conv}.weight'] = shape
    for name in NORM:
        rows[f'{norm}.{name}'] = (shape[0],)
    rows[f'{norm}.num_batches_tracked'] = ()


def _na(rows, prefix):
    rows[f'{prefix}.na.weight2'] = (1,)
    rows[f'{prefix}.na.bias2'] = (1,)


def resnet_table(depth, num_classes=1000, attention=True, width=64):
    """Name -> shape of the published NA-ResNet; without ``attention``, torchvision's ResNet."""
    kind, blocks = RESNETS[depth]
    rows = {}
    _conv_norm(rows, 'conv1', 'bn1', (width, 3, 7, 7))
    before = width
    for s, count in enumerate(blocks):
        c = width * 2**s
        out = c if kind == 'basic' else 4 * c
        for b in range(count):
            p = f'layer{s + 1}.{b}'
            if kind == 'basic':
                _conv_norm(rows, f'{p}.conv1', f'{p}.bn1', (c, before, 3, 3))
                _conv_norm(rows, f'{p}.conv2', f'{p}.bn2', (c, c, 3, 3))
            else:
                _conv_norm(rows, f'{p}.conv1', f'{p}.bn1', (c, before, 1, 1))
                _conv_norm(rows, f'{p}.conv2', f'{p}.bn2', (c, c, 3, 3))
                _conv_norm(rows, f'{p}.conv3', f'{p}.bn3', (out, c, 1, 1))
            if attention:
                _na(rows, p)
            if b == 0 and (s > 0 or before != out):
                _conv_norm(rows, f'{p}.downsample.0', f'{p}.downsample.1', (out, before, 1, 1))
            before = out
    rows['fc.weight'] = (num_classes, before)
    rows['fc.bias'] = (num_classes,)
    return rows


def mobilenet_table(num_classes=1000, attention=True):
    """Name -> shape of the published NA-MobileNetV2; else torchvision's MobileNetV2."""
    rows = {}
    _conv_norm(rows, 'features.0.0', 'features.0.1', (32, 3, 3, 3))
    before, n = 32, 0
    for expansion, c, count, _ in MOBILENET_V2:
        for _ in range(count):
            n += 1
            p, hidden, i = f'features.{n}', before * expansion, 0
            if expansion != 1:
                _conv_norm(rows, f'{p}.conv.0.0', f'{p}.conv.0.1', (hidden, before, 1, 1))
                i = 1
            _conv_norm(rows, f'{p}.conv.{i}.0', f'{p}.conv.{i}.1', (hidden, 1, 3, 3))
            _conv_norm(rows, f'{p}.conv.{i + 1}', f'{p}.conv.{i + 2}', (c, hidden, 1, 1))
            if attention:
                _na(rows, p)
            before = c
    _conv_norm(rows, 'features.18.0', 'features.18.1', (1280, 320, 1, 1))
    rows['classifier.1.weight'] = (num_classes, 1280)
    rows['classifier.1.bias'] = (num_classes,)
    return rows


def published_weights(table, seed=0):
    """Random float64 weights that keep activations near 1, so that every one of them shows."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in table.items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(7)
        elif len(shape) > 1:
            state[name] = noise / noise[0].numel() ** 0.5
        elif name.endswith('bias'):
            state[name] = 0.3 * noise
        elif name.endswith('running_mean'):
            state[name] = 0.1 * noise
        else:
            state[name] = 0.5 + 0.2 * noise.abs()
    return state


def norm(state, prefix, x):
    w, b, mean, var = (state[f'{prefix}.{name}'][:, None, None] for name in NORM)
    return (x - mean) / torch.sqrt(var + 1e-5) * w + b


def _attend(state, prefix, x):
    if f'{prefix}.na.weight2' not in state:
        return x
    return na(x, state[f'{prefix}.na.weight2'], state[f'{prefix}.na.bias2'])


def resnet_stages(state, x, depth):
    """The four stage outputs of the published NA-ResNet."""
    kind, blocks = RESNETS[depth]
    x = torch.conv2d(x, state['conv1.weight'], stride=2, padding=3)
    x = norm(state, 'bn1', x).clamp(min=0)
    x = torch.max_pool2d(x, 3, stride=2, padding=1)
    outs = []
    for s, count in enumerate(blocks):
        for b in range(count):
            p = f'layer{s + 1}.{b}'
            stride = 2 if s > 0 and b == 0 else 1
            # (convolution, stride): the 3x3 that strides is the first or the middle one
            plan = [(1, stride), (2, 1)] if kind == 'basic' else [(1, 1), (2, stride), (3, 1)]
            y = x
            for i, step in plan:
                weight = state[f'{p}.conv{i}.weight']
                y = torch.conv2d(y, weight, stride=step, padding=weight.shape[-1] // 2)
                y = norm(state, f'{p}.bn{i}', y)
                if i < len(plan):
                    y = y.clamp(min=0)
            y = _attend(state, p, y)
            if f'{p}.downsample.0.weight' in state:
                x = torch.conv2d(x, state[f'{p}.downsample.0.weight'], stride=stride)
                x = norm(state, f'{p}.downsample.1', x)
            x = (x + y).clamp(min=0)
        outs.append(x)
    return outs


def resnet(state, x, depth):
    """Logits of the published NA-ResNet."""
    return resnet_stages(state, x, depth)[-1].mean((2, 3)) @ state['fc.weight'].T + state['fc.bias']


def mobilenet_v2(state, x):
    """Logits of the published NA-MobileNetV2."""

    def relu6(v):
        return v.clamp(0, 6)

    x = torch.conv2d(x, state['features.0.0.weight'], stride=2, padding=1)
    x = relu6(norm(state, 'features.0.1', x))
    n = 0
    for expansion, c, count, stride in MOBILENET_V2:
        for b in range(count):
            n += 1
            p, y, i = f'features.{n}', x, 0
            step = stride if b == 0 else 1
            if expansion != 1:
                y = torch.conv2d(y, state[f'{p}.conv.0.0.weight'])
                y = relu6(norm(state, f'{p}.conv.0.1', y))
                i = 1
            weight = state[f'{p}.conv.{i}.0.weight']
            y = torch.conv2d(y, weight, stride=step, padding=1, groups=len(weight))
            y = relu6(norm(state, f'{p}.conv.{i}.1', y))
            y = torch.conv2d(y, state[f'{p}.conv.{i + 1}.weight'])
            y = _attend(state, p, norm(state, f'{p}.conv.{i + 2}', y))
            x = x + y if step == 1 and x.shape[1] == c else y
    x = torch.conv2d(x, state['features.18.0.weight'])
    x = relu6(norm(state, 'features.18.1', x)).mean((2, 3))
    return x @ state['classifier.1.weight'].T + state['classifier.1.bias']
