"""PATNet, one formula per line in plain torch, importing nothing of ours.

A state dict has the names of the published checkpoints (``spatial_mixing.attn.cfc1.weight``);
``p`` is a function from the last part of such a name to its tensor. Batch norms run in eval mode
unless ``training`` says otherwise.
"""

import math

import torch

# The first distance of each bucket 20, 21, ..., 40, as the published index function gives them.
# fmt: off
FIRST_DISTANCES = (
    20, 22, 24, 26, 29, 32, 36, 40, 44, 49, 54, 60, 67, 74, 82, 91, 101, 112, 124, 137, 152,
)
# fmt: on


def bucket(distance):
    """Bucket of an integer distance by that table: 20 and 21 -> 40 + 20, 22 -> 40 + 21, ..."""
    if distance < 20:
        return 40 + distance
    return 40 + 19 + sum(distance >= first for first in FIRST_DISTANCES)


def relative_bias(table, height, width):
    """bias[h, p, q] = table[h, bucket(round(|p - q|))], position by position."""
    cells = [(r, c) for r in range(height) for c in range(width)]
    bias = torch.zeros(len(table), len(cells), len(cells), dtype=table.dtype)
    for i, (r1, c1) in enumerate(cells):
        for j, (r2, c2) in enumerate(cells):
            bias[:, i, j] = table[:, bucket(round(math.sqrt((r1 - r2) ** 2 + (c1 - c2) ** 2)))]
    return bias


def batch_norm(x, p, name, training=False):
    """(x - mean) / sqrt(var + 1e-5) * weight + bias per channel."""
    mean, var = p(f'{name}.running_mean'), p(f'{name}.running_var')
    if training:
        mean = x.mean((0, 2, 3))
        var = ((x - mean.view(1, -1, 1, 1)) ** 2).mean((0, 2, 3))
    mean, var = mean.view(1, -1, 1, 1), var.view(1, -1, 1, 1)
    weight, bias = p(f'{name}.weight').view(1, -1, 1, 1), p(f'{name}.bias').view(1, -1, 1, 1)
    return (x - mean) / torch.sqrt(var + 1e-5) * weight + bias


def hard_sigmoid(z):
    return torch.clamp(z + 3, 0, 6) / 6


def gate(x, p, training=False):
    """x * hardsigmoid(BN(W_mean mean + W_std std)), std with H * W - 1."""
    n, c, h, w = x.shape
    mean = x.sum((2, 3)) / (h * w)
    std = torch.sqrt(((x - mean.view(n, c, 1, 1)) ** 2).sum((2, 3)) / (h * w - 1))
    weight = p('attn.cfc1.weight')[:, :, 0, :]
    z = mean @ weight[:, :, 0].T + std @ weight[:, :, 1].T
    z = batch_norm(z.view(n, c, 1, 1), p, 'attn.bn', training)
    return x * hard_sigmoid(z)


def channel_attention(x, p, training=False):
    """cat(conv3x3(x1), BN(gate(x2))), x1 the first quarter."""
    n = x.shape[1] // 4
    first = torch.conv2d(x[:, :n], p('partial_conv3.weight'), padding=1)
    second = batch_norm(gate(x[:, n:], p, training), p, 'norm', training)
    return torch.cat((first, second), 1)


def self_attention(x, p, heads):
    """cat(conv3x3(x1), W_o softmax(q k^T / sqrt(d) + b) v + b_o) of LN(x2), image by image."""
    n = x.shape[1] // 4
    first = torch.conv2d(x[:, :n], p('partial_conv3.weight'), padding=1)
    _, u, h, w = x[:, n:].shape
    bias = relative_bias(p('attn.rpe_k.lookup_table_bias'), h, w)
    d = u // heads
    seconds = []
    for image in x[:, n:]:
        tokens = image.reshape(u, h * w).T
        mean = tokens.mean(1, keepdim=True)
        var = ((tokens - mean) ** 2).mean(1, keepdim=True)
        tokens = (tokens - mean) / torch.sqrt(var + 1e-6) * p('norm.weight') + p('norm.bias')
        q, k, v = (tokens @ p('attn.qkv.weight').T).split(u, 1)
        outs = []
        for i in range(heads):
            part = slice(i * d, (i + 1) * d)
            logits = (q[:, part] * d**-0.5) @ k[:, part].T + bias[i]
            weights = torch.exp(logits - logits.max(1, keepdim=True).values)
            outs.append(weights / weights.sum(1, keepdim=True) @ v[:, part])
        out = torch.cat(outs, 1) @ p('attn.proj.weight').T + p('attn.proj.bias')
        seconds.append(out.T.reshape(u, h, w))
    return torch.cat((first, torch.stack(seconds)), 1)


def spatial_attention(x, p, training=False):
    """cat(BN(x1 * hardsigmoid(w . x1)), W BN2(x2)), x2 the last half."""
    n = x.shape[1] // 2
    x1, x2 = x[:, :n], x[:, n:]
    a = hard_sigmoid((x1 * p('conv_attn.weight').view(1, n, 1, 1)).sum(1, keepdim=True))
    second = batch_norm(x2, p, 'norm2', training)
    second = torch.einsum('oc,nchw->nohw', p('conv.weight')[:, :, 0, 0], second)
    return torch.cat((batch_norm(x1 * a, p, 'norm', training), second), 1)


def activate(x, act):
    return torch.clamp(x, min=0) if act == 'ReLU' else 0.5 * x * (1 + torch.erf(x / 2**0.5))


def stages_official(state, x, depths, heads, act, training=False):
    """The outputs of the four stages, before any output norm."""

    def at(prefix):
        return lambda name: state[f'{prefix}.{name}']

    outs = []
    for i, depth in enumerate(depths):
        if i == 0:
            p = at('patch_embed')
            x = torch.conv2d(x, p('proj.weight'), stride=4)
        else:
            p = at(f'stages.{2 * i - 1}')
            x = torch.conv2d(x, p('reduction.weight'), stride=2)
        x = batch_norm(x, p, 'norm', training)
        for j in range(depth):
            block = f'stages.{2 * i}.blocks.{j}'
            mixing, mlp = at(f'{block}.spatial_mixing'), at(f'{block}.mlp')
            if i == 3:
                x = shortcut = y = x + self_attention(x, mixing, heads)
            else:
                shortcut, y = x, channel_attention(x, mixing, training)
            y = torch.conv2d(y, mlp('0.weight'))
            y = activate(batch_norm(y, mlp, '1', training), act)
            y = torch.conv2d(y, mlp('3.weight'))
            x = shortcut + spatial_attention(y, at(f'{block}.mlp.4'), training)
        outs.append(x)
    return outs


def forward_official(state, x, depths, heads, act):
    """Logits (N, classes): W act(conv1x1(mean(x))) + b."""
    x = stages_official(state, x, depths, heads, act)[-1].mean((2, 3))
    x = activate(x @ state['avgpool_pre_head.1.weight'][:, :, 0, 0].T, act)
    return x @ state['head.weight'].T + state['head.bias']
