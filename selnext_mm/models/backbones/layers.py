"""Small layers that the backbones share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from selnext_mm.framework import MODELS


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of an NCHW tensor, separately at each position.

    Shapes: (N, C, H, W) -> (N, C, H, W). ``y = gamma * (x - mean_c) / sqrt(var_c + eps) + beta``
    with the biased variance over the C channels.
    """

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        super().__init__(num_channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(
            x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps
        )
        return x.permute(0, 3, 1, 2)


def check_drop_path(rate: float) -> float:
    """Return ``rate``, the ``drop_path_rate`` of a backbone.

    Raises:
        ValueError: unless it is a number from 0 to less than 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 <= rate < 1:
        raise ValueError(f'drop_path_rate={rate!r}; expected a drop path rate of 0 <= rate < 1')
    return rate


def drop_path_rates(last: float, blocks: int) -> list[float]:
    """Rates of stochastic depth that rise linearly from 0 in the first block to ``last``.

    Raises:
        ValueError: unless ``last`` is a number from 0 to less than 1.
    """
    return torch.linspace(0, float(check_drop_path(last)), blocks, device='cpu').tolist()


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a sample's branch with probability ``rate``.

    Surviving samples are divided by ``1 - rate``, so the expectation is the input.

    Raises:
        ValueError: for a rate outside [0, 1).
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f'drop path rate {rate}; expected 0 <= rate < 1')
        self.rate = rate

    def factors(self, x: Tensor) -> Tensor:
        """Draw the factor of every sample of ``x``, (N): 0 or ``1 / (1 - rate)``."""
        keep = 1 - self.rate
        return x.new_empty(x.shape[0]).bernoulli_(keep).div_(keep)

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0 or not self.training:
            return x
        return x * self.factors(x).view(-1, *[1] * (x.ndim - 1))

    def extra_repr(self) -> str:
        return f'rate={self.rate:.4g}'


def build_norm2d(cfg: dict, num_channels: int) -> nn.Module:
    """Build the channels-first norm of ``cfg``, e.g. ``dict(type='LN2d', eps=1e-6)``.

    Raises:
        ValueError: for a type other than ``LN2d`` or an unknown key.
    """
    cfg = dict(cfg)
    name = cfg.pop('type', None)
    eps = cfg.pop('eps', 1e-6)
    if name != 'LN2d' or cfg:
        raise ValueError(
            f"norm_cfg={dict(cfg, type=name)!r}; expected dict(type='LN2d', eps=<number>)"
        )
    return LayerNorm2d(num_channels, eps=eps)


def build_activation(cfg: dict) -> nn.Module:
    """Build ``cfg['type']`` from the registry or, without mmcv, from ``torch.nn``.

    Raises:
        ValueError: if neither knows the name.
    """
    cfg = dict(cfg)
    name = cfg.pop('type', None)
    cls = MODELS.get(name) if isinstance(name, str) else name
    cls = cls or getattr(torch.nn, str(name), None)
    if cls is None:
        raise ValueError(
            f'act_cfg type {name!r} is neither registered nor a class of torch.nn '
            "(for example 'GELU', 'ReLU', 'SiLU')"
        )
    return cls(**cfg)


def checkpointed(module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)`` with activation checkpointing: it is recomputed in the backward pass.

    The batch norms in ``module`` update their running statistics only once. Non-reentrant.
    """
    contexts = lambda: (nullcontext(), keep_running_stats(module))  # noqa: E731
    return checkpoint(function, x, use_reentrant=False, context_fn=contexts)


class CheckpointedOnce:
    """Mixin for another package's block with ``with_cp``: running statistics are updated only once.

    mmdet's and mmpretrain's own checkpointing updates them again in the recomputation.
    """

    with_cp: bool

    def _kept(self, x: Tensor) -> Tensor:
        former, self.with_cp = self.with_cp, False
        try:
            return super().forward(x)  # type: ignore[misc]  # forward of the block
        finally:
            self.with_cp = former

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpointed(self, self._kept, x)
        return self._kept(x)


@contextmanager
def keep_running_stats(module: nn.Module) -> Iterator[None]:
    """Stop batch norms from updating their running statistics a second time on recomputation."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(m, m.momentum, m.num_batches_tracked.clone()) for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, batches in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(batches)
