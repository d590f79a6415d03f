"""Channel scales before and after the gate's bound or norm (Fig. 3 of the SELNeXt paper).

``before`` is the raw output of the excitation (the two layers of SE and SELN, the convolution of
ECA), ``after`` is what multiplies the channels: sigmoid, hard-sigmoid, tanh or LN of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selnext_mm.errors import UserError
from selnext_mm.models.attention.base import ChannelAttention, full_precision


@dataclass(frozen=True)
class GateScales:
    """Scales of one attention module: float64 tensors (C), mean and std over the images."""

    module: str
    kind: str
    before: Tensor
    before_std: Tensor
    after: Tensor
    after_std: Tensor

    @property
    def spread(self) -> float:
        """Standard deviation of ``after`` over the channels: how well they are told apart."""
        return self.after.std(unbiased=False).item()

    @property
    def negative(self) -> float:
        """Share of channels whose mean scale is negative."""
        return (self.after < 0).double().mean().item()


class _Moments:
    """Mean and sum of squared deviations per channel, merged batch by batch."""

    def __init__(self) -> None:
        self.count, self.mean, self.deviations = 0, 0.0, 0.0

    def add(self, values: Tensor) -> None:
        values = values.double().cpu()
        n, mean = len(values), values.mean(0)
        delta = mean - self.mean
        total = self.count + n
        self.deviations = (
            self.deviations + (values - mean).square().sum(0) + delta**2 * (self.count * n / total)
        )
        self.mean = self.mean + delta * (n / total)
        self.count = total

    @property
    def std(self) -> Tensor:
        return (self.deviations / self.count).sqrt()


def attention_modules(model: nn.Module) -> dict[str, ChannelAttention]:
    """The channel attentions of ``model.backbone`` (or of a backbone), by name and in order.

    Raises:
        UserError: if there are none.
    """
    backbone = getattr(model, 'backbone', model)
    found = {n: m for n, m in backbone.named_modules() if isinstance(m, ChannelAttention)}
    if not found:
        raise UserError(f'{type(backbone).__name__} has no channel attention of this package')
    return found


@torch.no_grad()
def gate_scales(
    model: nn.Module, inputs: Iterable[Tensor], on_batch: Callable[[int], None] | None = None
) -> list[GateScales]:
    """Channel scales of every attention module over the images of ``inputs``.

    Memory does not grow with the number of images.

    Args:
        model: a model with ``backbone``, or a backbone.
        inputs: normalised batches (N, 3, H, W).
        on_batch: called with the number of images after each batch.

    Raises:
        UserError: if the model has no channel attention, or there were no images.
    """
    modules = attention_modules(model)
    moments = {name: (_Moments(), _Moments()) for name in modules}
    handles = []

    def attach(name: str, module: ChannelAttention) -> None:
        def take(module: ChannelAttention, args: tuple) -> None:
            mean = module.squeeze(args[0])
            with full_precision(mean.device):
                before = module.excite(mean)
                moments[name][0].add(before)
                moments[name][1].add(module.activate(before))

        handles.append(module.register_forward_pre_hook(take))

    try:
        for name, module in modules.items():
            attach(name, module)
        for x in inputs:
            getattr(model, 'backbone', model)(x)
            if on_batch:
                on_batch(len(x))
    finally:
        for handle in handles:
            handle.remove()
    if not all(before.count for before, _ in moments.values()):
        raise UserError('no images were given')
    return [
        GateScales(
            name, type(modules[name]).__name__, before.mean, before.std, after.mean, after.std
        )
        for name, (before, after) in moments.items()
    ]
