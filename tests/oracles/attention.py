"""SE, ECA, GRN, GCT and CBAM on (N, H, W, C), one formula per line, importing nothing of ours."""

import torch


def se(x, w1, b1, w2, b2, gate):
    """x * gate(W2 relu(W1 mean_hw(x) + b1) + b2)."""
    s = torch.clamp(x.mean((1, 2)) @ w1.T + b1, min=0) @ w2.T + b2
    scales = {
        'sigmoid': lambda: 1 / (1 + torch.exp(-s)),
        'hard-sigmoid': lambda: torch.clamp(s + 3, min=0, max=6) / 6,
        'tanh': lambda: (torch.exp(2 * s) - 1) / (torch.exp(2 * s) + 1),
        'identity': lambda: s,
    }[gate]()
    return x * scales[:, None, None, :]


def eca(x, kernel):
    """x_c * sigmoid(sum_t kernel_t mean_hw(x_{c + t - k // 2})), channels outside counting 0."""
    mean = x.mean((1, 2))
    channels, reach = mean.shape[1], len(kernel) // 2
    columns = []
    for c in range(channels):
        terms = [
            kernel[t] * mean[:, c + t - reach]
            for t in range(len(kernel))
            if 0 <= c + t - reach < channels
        ]
        columns.append(sum(terms))
    return x / (1 + torch.exp(-torch.stack(columns, 1)))[:, None, None, :]


def grn(x, gamma, beta):
    """gamma * (x * n) + beta + x, n the L2 norm over H and W by (its channel mean + 1e-6)."""
    norm = (x**2).sum((1, 2), keepdim=True) ** 0.5
    n = norm / (norm.mean(-1, keepdim=True) + 1e-6)
    return gamma * (x * n) + beta + x


def gct(x, alpha, gamma, beta):
    """x * (tanh(gamma * n + beta) + 1), n the norms alpha ||x|| by their root mean square."""
    s = alpha * ((x**2).sum((1, 2)) + 1e-5) ** 0.5
    n = s * (s.shape[1] / ((s**2).sum(1, keepdim=True) + s.shape[1] * 1e-5)) ** 0.5
    t = torch.exp(2 * (gamma * n + beta))
    return x * ((t - 1) / (t + 1) + 1)[:, None, None, :]


def cbam(x, w1, b1, w2, b2, kernel, mean, var, gamma, beta):
    """u = x * sigmoid(mlp(mean) + mlp(max)); u * sigmoid(BN(conv([max_c, mean_c] of u)))."""

    def mlp(g):
        return torch.clamp(g @ w1.T + b1, min=0) @ w2.T + b2

    n, height, width, _ = x.shape
    flat = x.reshape(n, height * width, -1)
    s = mlp(flat.mean(1)) + mlp(flat.max(1).values)
    u = x / (1 + torch.exp(-s))[:, None, None, :]
    reach = kernel.shape[-1] // 2
    z = torch.zeros(n, height, width, dtype=x.dtype)
    for weights, plane in zip(kernel, (u.max(3).values, u.mean(3)), strict=True):
        padded = torch.zeros(n, height + 2 * reach, width + 2 * reach, dtype=x.dtype)
        padded[:, reach : reach + height, reach : reach + width] = plane
        for i, row in enumerate(weights):
            for j, weight in enumerate(row):
                z = z + weight * padded[:, i : i + height, j : j + width]
    z = (z - mean) / (var + 1e-5) ** 0.5 * gamma + beta
    return u / (1 + torch.exp(-z))[..., None]
