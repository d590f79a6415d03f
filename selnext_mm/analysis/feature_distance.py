"""Mean feature cosine distance per block: how different the channels of a feature map are.

Equations 4 and 5 of "A Latency-Efficient Integration of Channel Attention for ConvNets": the mean
over all C * C ordered pairs of channels, i = j included, of ``(1 - cos(X_i, X_j)) / 2``, each
channel flattened over height and width. With unit vectors ``u_i = X_i / ||X_i||`` the sum of all
cosines is ``||sum_i u_i||^2``, so one product of a row of ones with the C x HW matrix replaces the
C x C comparisons, with float64's rounding error only. A channel that is zero everywhere has cosine
0 to all others and distance 0 to itself; each pair with another channel counts 1/2.

The places in a block where it can be measured:

``expansion``  the output of the expansion layer, activation included (Fig. 2's caption)
``gated``      the input of the projection, that is the map after the attention
``block``      the output of the block
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selnext_mm.errors import UserError

PLACES = ('expansion', 'gated', 'block')
# Values converted to float64 at a time: as many as fit into a cache, and into a GPU's memory.
CHUNK, ACCELERATOR_CHUNK = 2**18, 2**26
# (class name, module whose output is the expanded map, module whose input is the gated map)
BLOCKS = (
    ('SELNeXtBlock', 'act', 'pointwise_conv2'),
    ('InvertedResidual', 'expand', 'project'),
    ('ConvNeXtBlock', 'act', 'pointwise_conv2'),  # mmpretrain's
    ('InvertedResidual', 'expand_conv', 'linear_conv'),  # mmpretrain's MobileNetV3
    ('InvertedResidual', 'conv.0', 'conv.2'),  # mmpretrain's MobileNetV2
    ('PATNetBlock', 'act', 'reduce'),
    ('MLPBlock', 'mlp.2', 'mlp.3'),  # timm's FasterNet
)
# Blocks without an expansion layer: only their output can be measured.
PLAIN_BLOCKS = ('BasicBlock', 'Bottleneck')


@dataclass(frozen=True)
class BlockDistance:
    """Statistics of one block over the images; ``index`` is its number among the measured ones."""

    index: int
    block: str
    channels: int
    attention: bool
    mean: float
    std: float
    zero_channels: float


def cosine_distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 4 for each image of ``x`` (N, C, ...), and its share of all-zero channels.

    Returns two float64 tensors (N).
    """
    flat = x.flatten(2)  # a view for both memory layouts
    limit = CHUNK if x.device.type == 'cpu' else ACCELERATOR_CHUNK
    parts = [_cosine_distances(p) for p in flat.split(max(1, limit // max(1, flat[0].numel())))]
    distances, zeros = zip(*parts, strict=True)
    return torch.cat(distances), torch.cat(zeros)


def _cosine_distances(x: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`cosine_distances` of ``x`` (N, C, HW), with one float64 copy that is read twice."""
    wide = x.double()
    if x.dtype == torch.float64:
        # Divided by the largest entry, so that no square under- or overflows. Values of narrower
        # types cannot.
        wide = wide / wide.abs().amax(2, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    norm = torch.linalg.vector_norm(wide, dim=2)
    zero = norm == 0
    weights = torch.where(zero, 0.0, 1 / norm)
    total = torch.bmm(weights.unsqueeze(1), wide).squeeze(1)  # the sum of the unit vectors
    channels = x.shape[1]
    num_zero = zero.sum(1).double()
    cosines = total.square().sum(1) + num_zero
    return (1 - cosines / channels**2) / 2, num_zero / channels


def probes(model: nn.Module, place: str) -> dict[str, tuple[nn.Module, bool, bool, bool]]:
    """Blocks in order: name -> (module to hook, hook its input, channels last, has attention).

    Blocks without an expansion layer (MobileNetV3's first) are left out.

    Raises:
        UserError: for an unknown place, or a model without blocks of a known kind.
    """
    if place not in PLACES:
        raise UserError(f'place {place!r}; expected one of {", ".join(PLACES)}')
    found = {}
    for name, block in getattr(model, 'backbone', model).named_modules():
        kinds = [cls.__name__ for cls in type(block).__mro__]  # of a class derived from one, too
        attention = getattr(block, 'attention', None) is not None
        attention |= bool(getattr(block, 'with_se', getattr(block, 'use_grn', False)))
        attention |= _part(block, 'conv.na') is not None  # NAMobileNetV2's
        if not {*PLAIN_BLOCKS}.isdisjoint(kinds) and place == 'block':
            attention |= bool(getattr(block, 'after_conv2_plugin_names', None))
            attention |= bool(getattr(block, 'after_conv3_plugin_names', None))
            found[name] = (block, False, False, attention)
        for cls, expansion, projection in BLOCKS:
            expand, project = (_part(block, path) for path in (expansion, projection))
            if cls not in kinds or expand is None or project is None:
                continue
            last = bool(getattr(block, 'linear_pw_conv', False)) and place != 'block'
            module = {'expansion': expand, 'gated': project}.get(place, block)
            found[name] = (module, place == 'gated', last, attention or cls == 'PATNetBlock')
    if not found:
        known = ', '.join(sorted({row[0] for row in BLOCKS}))
        raise UserError(
            f"{type(model).__name__} has no blocks of a known kind ({known}; at 'block' also "
            f'{", ".join(PLAIN_BLOCKS)})'
        )
    return found


def _part(block: nn.Module, path: str) -> nn.Module | None:
    """The module at a dotted path, or None."""
    for name in path.split('.'):
        block = getattr(block, name, None)
    return block


class _Running:
    """Count, mean and sum of squared deviations (Welford), of float64 values."""

    def __init__(self) -> None:
        self.count, self.mean, self.deviations, self.zero, self.channels = 0, 0.0, 0.0, 0.0, 0

    def add(self, x: Tensor) -> None:
        self.channels = x.shape[1]
        if x.device.type == 'mps':  # has no float64
            x = x.cpu()
        distances, zeros = cosine_distances(x)
        for value, zero in zip(distances.tolist(), zeros.tolist(), strict=True):
            self.count += 1
            delta = value - self.mean
            self.mean += delta / self.count
            self.deviations += delta * (value - self.mean)
            self.zero += (zero - self.zero) / self.count


@torch.no_grad()
def feature_distance(
    model: nn.Module,
    inputs: Iterable[Tensor],
    place: str = 'expansion',
    on_batch: Callable[[int], None] | None = None,
) -> list[BlockDistance]:
    """Mean feature cosine distance of every block over the images of ``inputs``.

    Memory does not grow with the number of images.

    Args:
        model: a model with ``backbone``, or a backbone: one of this package, mmpretrain's ConvNeXt
            or MobileNetV2/V3, or timm's FasterNet; ResNets only with the place 'block'.
        inputs: normalised batches (N, 3, H, W).
        place: one of ``PLACES``.
        on_batch: called with the number of images after each batch.

    Raises:
        UserError: see :func:`probes`; or if there were no images.
    """
    blocks = probes(model, place)
    running = {name: _Running() for name in blocks}
    handles = []

    def attach(name: str, module: nn.Module, at_input: bool, channels_last: bool) -> None:
        def take(x: Tensor) -> None:
            running[name].add(x.permute(0, 3, 1, 2) if channels_last else x)

        if at_input:
            handles.append(module.register_forward_pre_hook(lambda _, args: take(args[0])))
        else:
            handles.append(module.register_forward_hook(lambda _, args, out: take(out)))

    try:
        for name, (module, at_input, channels_last, _) in blocks.items():
            attach(name, module, at_input, channels_last)
        for x in inputs:
            getattr(model, 'backbone', model)(x)
            if on_batch:
                on_batch(len(x))
    finally:
        for handle in handles:
            handle.remove()
    if not all(r.count for r in running.values()):
        raise UserError('no images were given')
    return [
        BlockDistance(
            index=i,
            block=re.sub(r'^backbone\.', '', name),
            channels=r.channels,
            attention=blocks[name][3],
            mean=r.mean,
            std=(r.deviations / r.count) ** 0.5,
            zero_channels=r.zero,
        )
        for i, (name, r) in enumerate(running.items())
    ]
