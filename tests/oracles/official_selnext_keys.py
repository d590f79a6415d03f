"""The official SELNeXt classification checkpoint, as a table: names and shapes.

Written from the authors' models/selnext.py, row by row, importing nothing of ours. The SELN
submodule of a block is called ``norm``, and its ``conv_reduce`` and ``conv_expand`` are linear.
"""

import torch

TINY = ((3, 3, 9, 3), (96, 192, 384, 768))
# Small enough to run, with every stage of another depth and every width divisible by 4.
TOY = ((1, 2, 3, 1), (8, 16, 24, 32))


def official_table(depths, widths, num_classes=1000):
    """Name -> shape; 254 entries for the tiny model."""
    rows = {
        'downsample_layers.0.0.weight': (widths[0], 3, 4, 4),
        'downsample_layers.0.0.bias': (widths[0],),
        'downsample_layers.0.1.weight': (widths[0],),
        'downsample_layers.0.1.bias': (widths[0],),
    }
    for i in (1, 2, 3):
        before, after = widths[i - 1], widths[i]
        rows[f'downsample_layers.{i}.0.weight'] = (before,)
        rows[f'downsample_layers.{i}.0.bias'] = (before,)
        rows[f'downsample_layers.{i}.1.weight'] = (after, before, 2, 2)
        rows[f'downsample_layers.{i}.1.bias'] = (after,)
    for i in range(4):
        c = widths[i]
        for j in range(depths[i]):
            p = f'stages.{i}.{j}'
            rows[f'{p}.gamma'] = (c,)
            rows[f'{p}.dwconv.weight'] = (c, 1, 7, 7)
            rows[f'{p}.dwconv.bias'] = (c,)
            rows[f'{p}.pwconv1.weight'] = (4 * c, c)
            rows[f'{p}.pwconv1.bias'] = (4 * c,)
            rows[f'{p}.norm.conv_reduce.weight'] = (c // 4, 4 * c)
            rows[f'{p}.norm.conv_reduce.bias'] = (c // 4,)
            rows[f'{p}.norm.conv_expand.weight'] = (4 * c, c // 4)
            rows[f'{p}.norm.conv_expand.bias'] = (4 * c,)
            rows[f'{p}.norm.gate.weight'] = (4 * c,)
            rows[f'{p}.norm.gate.bias'] = (4 * c,)
            rows[f'{p}.pwconv2.weight'] = (c, 4 * c)
            rows[f'{p}.pwconv2.bias'] = (c,)
    rows['norm.weight'] = (widths[3],)
    rows['norm.bias'] = (widths[3],)
    rows['head.weight'] = (num_classes, widths[3])
    rows['head.bias'] = (num_classes,)
    return rows


def official_weights(depths, widths, num_classes=10, seed=0):
    """Random float32 weights of that table, scaled so that every one of them shows in the output.

    Layer scale is around 1: at its initial 1e-6 a wrong block would go unnoticed.
    """
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in official_table(depths, widths, num_classes).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith('bias'):
            state[name] = 0.3 * noise
        elif len(shape) == 1:
            state[name] = 1 + 0.3 * noise
        else:
            fan_in = noise[0].numel()
            state[name] = noise / fan_in**0.5
    return state
