"""SELNeXt on the official weights, one formula per line, importing nothing of ours."""

import torch


def layer_norm(x, weight, bias, eps, dim):
    """(x - mean) / sqrt(biased variance + eps) * weight + bias over one dimension."""
    mean = x.mean(dim, keepdim=True)
    variance = ((x - mean) ** 2).mean(dim, keepdim=True)
    shape = [1] * x.ndim
    shape[dim] = -1
    return (x - mean) / torch.sqrt(variance + eps) * weight.view(shape) + bias.view(shape)


def seln(u, w1, b1, w2, b2, weight, bias):
    """u * LN(W2 relu(W1 mean_hw(u) + b1) + b2), LN eps 1e-5, for u of shape (N, H, W, E)."""
    g = u.mean((1, 2))
    s = torch.clamp(g @ w1.T + b1, min=0) @ w2.T + b2
    v = layer_norm(s, weight, bias, 1e-5, 1)
    return u * v[:, None, None, :]


def block(state, prefix, x):
    """x + gamma * pwconv2(SELN(gelu(pwconv1(dwconv(x))))), for x of shape (N, C, H, W)."""

    def p(name):
        return state[f'{prefix}.{name}']

    c = x.shape[1]
    y = torch.conv2d(x, p('dwconv.weight'), p('dwconv.bias'), padding=3, groups=c)
    y = y.permute(0, 2, 3, 1)
    y = y @ p('pwconv1.weight').T + p('pwconv1.bias')
    y = 0.5 * y * (1 + torch.erf(y / 2**0.5))
    y = seln(
        y,
        p('norm.conv_reduce.weight'),
        p('norm.conv_reduce.bias'),
        p('norm.conv_expand.weight'),
        p('norm.conv_expand.bias'),
        p('norm.gate.weight'),
        p('norm.gate.bias'),
    )
    y = y @ p('pwconv2.weight').T + p('pwconv2.bias')
    y = p('gamma') * y
    return x + y.permute(0, 3, 1, 2)


def stages_official(state, x, depths):
    """The outputs of the four stages, before any output norm."""

    def p(name):
        return state[f'downsample_layers.{name}']

    outs = []
    for i, depth in enumerate(depths):
        if i == 0:
            x = torch.conv2d(x, p('0.0.weight'), p('0.0.bias'), stride=4)
            x = layer_norm(x, p('0.1.weight'), p('0.1.bias'), 1e-6, 1)
        else:
            x = layer_norm(x, p(f'{i}.0.weight'), p(f'{i}.0.bias'), 1e-6, 1)
            x = torch.conv2d(x, p(f'{i}.1.weight'), p(f'{i}.1.bias'), stride=2)
        for j in range(depth):
            x = block(state, f'stages.{i}.{j}', x)
        outs.append(x)
    return outs


def forward_official(state, x, depths):
    """Logits (N, classes) of images (N, 3, H, W)."""
    features = stages_official(state, x, depths)[-1].mean((2, 3))
    features = layer_norm(features, state['norm.weight'], state['norm.bias'], 1e-6, 1)
    return features @ state['head.weight'].T + state['head.bias']
