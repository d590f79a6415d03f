"""The published PATNet classification checkpoint, as a table: names and shapes.

Written from the released model definition, row by row, importing nothing of ours. A batch norm
has five entries; ``stages.1``, ``.3`` and ``.5`` are the merging layers.
"""

import torch

T2 = ((2, 2, 6, 4), 64, 6)
# Small enough to run; the heads divide three quarters of 8 * 16.
TOY = ((1, 2, 3, 2), 16, 6)


def official_table(depths, width, heads, num_classes=1000):
    """Name -> shape."""
    rows = {}

    def batch_norm(name, n):
        for part in ('weight', 'bias', 'running_mean', 'running_var'):
            rows[f'{name}.{part}'] = (n,)
        rows[f'{name}.num_batches_tracked'] = ()

    rows['patch_embed.proj.weight'] = (width, 3, 4, 4)
    batch_norm('patch_embed.norm', width)
    for i in range(4):
        c = width * 2**i
        if i:
            rows[f'stages.{2 * i - 1}.reduction.weight'] = (c, c // 2, 2, 2)
            batch_norm(f'stages.{2 * i - 1}.norm', c)
        for j in range(depths[i]):
            mixing = f'stages.{2 * i}.blocks.{j}.spatial_mixing'
            mlp = f'stages.{2 * i}.blocks.{j}.mlp'
            u = 3 * c // 4
            rows[f'{mixing}.partial_conv3.weight'] = (c // 4, c // 4, 3, 3)
            if i < 3:
                rows[f'{mixing}.attn.cfc1.weight'] = (u, u, 1, 2)
                batch_norm(f'{mixing}.attn.bn', u)
                batch_norm(f'{mixing}.norm', u)
            else:
                rows[f'{mixing}.attn.qkv.weight'] = (3 * u, u)
                rows[f'{mixing}.attn.proj.weight'] = (u, u)
                rows[f'{mixing}.attn.proj.bias'] = (u,)
                rows[f'{mixing}.attn.rpe_k.lookup_table_bias'] = (heads, 81)
                rows[f'{mixing}.norm.weight'] = (u,)
                rows[f'{mixing}.norm.bias'] = (u,)
            rows[f'{mlp}.0.weight'] = (2 * c, c, 1, 1)
            batch_norm(f'{mlp}.1', 2 * c)
            rows[f'{mlp}.3.weight'] = (c, 2 * c, 1, 1)
            rows[f'{mlp}.4.conv.weight'] = (c // 2, c // 2, 1, 1)
            rows[f'{mlp}.4.conv_attn.weight'] = (1, c // 2, 1, 1)
            batch_norm(f'{mlp}.4.norm', c // 2)
            batch_norm(f'{mlp}.4.norm2', c // 2)
    rows['avgpool_pre_head.1.weight'] = (1280, 8 * width, 1, 1)
    rows['head.weight'] = (num_classes, 1280)
    rows['head.bias'] = (num_classes,)
    return rows


def official_weights(depths, width, heads, num_classes=10, seed=0):
    """Random tensors of that table, scaled so that every one of them shows in the output."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, shape in official_table(depths, width, heads, num_classes).items():
        noise = torch.randn(shape, generator=generator)
        if name.endswith('num_batches_tracked'):
            state[name] = torch.tensor(7)
        elif name.endswith('running_var'):
            state[name] = 1 + 0.5 * noise.tanh()
        elif name.endswith(('bias', 'running_mean')):
            state[name] = 0.3 * noise
        elif len(shape) == 1:
            state[name] = 1 + 0.3 * noise
        else:
            state[name] = noise / noise[0].numel() ** 0.5
    return state
