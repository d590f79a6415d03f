"""Channel scales before and after the gate's bound or norm (Fig. 3 of the SELNeXt paper).

``before`` is the raw output of the excitation (the two layers of SE, SELN and CBAM, the convolution
of ECA, the matrices of PATNet's gate; of NA it is the context), ``after`` is what multiplies the
channels: sigmoid, hard-sigmoid, tanh or norm of it. CBAM's gate on positions is left out.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from selnext_mm.errors import UserError
from selnext_mm.models.attention import MeanStdGate, NAModule, SqueezeExciteGate
from selnext_mm.models.attention.base import ChannelAttention
from selnext_mm.ops.capabilities import without_autocast


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
        """Standard deviation of ``after`` over the channels: how much the gate separates them."""
        return self.after.std(unbiased=False).item()

    @property
    def negative(self) -> float:
        """Share of channels whose mean scale is negative."""
        return (self.after < 0).double().mean().item()


class _Moments:
    """Mean and sum of squared deviations per channel, merged batch by batch."""

    def __init__(self) -> None:
        self.count = 0
        # After the first batch these are tensors (C).
        self.mean: Any = 0.0
        self.deviations: Any = 0.0

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


def _of_channel_attention(module: ChannelAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    squeezed = module.squeeze(x)
    with without_autocast(x.device.type):
        before = module.excite(squeezed)
        return before, module.activate(before)


def _of_na(module: NAModule, x: Tensor) -> tuple[Tensor, Tensor]:
    context = module.pool(x.to(torch.promote_types(x.dtype, torch.float32)))
    return context, module.activate(context)


def _of_mean_std(module: MeanStdGate, x: Tensor) -> tuple[Tensor, Tensor]:
    before = module.excite(x)
    return before.flatten(1), module.activate(before).flatten(1)


def _of_squeeze_excite(module: SqueezeExciteGate, x: Tensor) -> tuple[Tensor, Tensor]:
    before = module.excite(x).flatten(1)
    return before, torch.sigmoid(before)


def _of_se_layer(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    before = module.conv2.conv(module.conv1(module.global_avgpool(x)))
    return before.flatten(1), module.conv2.activate(before).flatten(1)


# By class: the function from a gate's input to its scales (N, C) before and after.
READERS: dict[type, Callable] = {
    ChannelAttention: _of_channel_attention,
    NAModule: _of_na,
    MeanStdGate: _of_mean_std,
    SqueezeExciteGate: _of_squeeze_excite,
}


def _reader(module: nn.Module) -> Callable | None:
    for kind, read in READERS.items():
        if isinstance(module, kind):
            return read
    # The class of mmpretrain and mmdet, by its name, because they need not be installed.
    return _of_se_layer if type(module).__name__ == 'SELayer' else None


def attention_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The channel gates of ``model.backbone`` (or of a backbone), by name and in order.

    Raises:
        UserError: if there are none.
    """
    backbone = getattr(model, 'backbone', model)
    found = {n: m for n, m in backbone.named_modules() if _reader(m)}
    if not found:
        raise UserError(
            f'{type(backbone).__name__} has no channel attention that can be read. The configs '
            'selnext_*, mobilenet_v3_l_* (except _none), na_*, se_* and patnet_* have one; plain '
            'ResNet, ConvNeXt and FasterNet do not, and GC (gc_*) adds to the channels instead of '
            'scaling them'
        )
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

    def attach(name: str, module: nn.Module) -> None:
        read = _reader(module)

        def take(module: nn.Module, args: tuple) -> None:
            for kept, scales in zip(moments[name], read(module, args[0]), strict=True):
                kept.add(scales)

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
