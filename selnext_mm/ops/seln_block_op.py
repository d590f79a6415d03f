"""The fast kernels of the SELNeXt block on CPUs as operators of torch.

They are registered with torch as operators of their own, so that ``torch.compile``
takes each block as one node of its graph instead of breaking the graph at it.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .gelu_linear import linear, pack_weight
from .packed import PackedOnce
from .seln_block import (
    BlockWeights,
    PackedWeights,
    depthwise,
    gate_goes_into_w2,
    gated_mlp,
    images_of,
    rows_of,
)
from .seln_block_grad import block_backward


def _select(x: Tensor, kept: Tensor | None) -> Tensor:
    """The images ``kept`` of ``x``, all for None, channels-last."""
    x = x if kept is None else x[kept]
    return x.contiguous(memory_format=torch.channels_last)


def _kept(keep: Tensor | None) -> tuple[Tensor | None, float]:
    """Indices of the images whose branch is computed, None for all, and the branch's factor."""
    if keep is None:
        return None, 1.0
    kept = keep.nonzero().flatten()
    scale = keep[kept[0]].item() if len(kept) else 1.0
    return (None if len(kept) == len(keep) else kept), scale


def _forward(
    x: Tensor,
    w: BlockWeights,
    eps: float,
    keep: Tensor | None,
    packed: PackedWeights | None = None,
    keep_hidden: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The output, ``y``, the means and ``h``; all but the first only of images not dropped."""
    with torch.autocast('cpu', enabled=False):
        kept, scale = _kept(keep)
        chosen = _select(x, kept)
        y = depthwise(chosen, w)
        hidden = None
        if keep_hidden:
            rows = rows_of(y)
            hidden = linear(rows.flatten(0, 1), w.w1, w.b1).view(*rows.shape[:2], len(w.b1))
        rows, means = gated_mlp(rows_of(y), rows_of(chosen), w, eps, scale, packed, hidden)
        out = images_of(rows, chosen)
        if kept is not None:
            out = x.clone(memory_format=torch.channels_last).index_copy_(0, kept, out)
        return out, y, means, hidden


def _inference(
    x: Tensor,
    weights: list[Tensor],
    eps: float,
    keep: Tensor | None,
    dtype: torch.dtype,
    slot: int | None = None,
) -> Tensor:
    """``slot`` is the number of a :class:`PackedOnce` that keeps the weights packed, if any."""
    w = BlockWeights(*weights)
    kept = None if slot is None or keep is not None else PackedOnce.numbered(slot)
    packed = None if kept is None else kept.get(w, pack_block, dtype)
    if packed is None:
        return _forward(x, w.cast(dtype), eps, keep)[0]
    return _forward(x, packed.rest, eps, None, packed)[0]


def _hidden_is_kept(x: Tensor) -> bool:
    """Whether ``h`` is kept for the backward pass: for small maps, where it does not take much."""
    return not gate_goes_into_w2(x.shape[2] * x.shape[3], x.shape[1])


def _training(
    x: Tensor, weights: list[Tensor], eps: float, keep: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output, ``y``, means and ``h``, which is empty where it is not kept."""
    out, y, means, hidden = _forward(
        x, BlockWeights(*weights), eps, keep, keep_hidden=_hidden_is_kept(x)
    )
    if hidden is None:
        hidden = x.new_empty((0,))
    missing = len(x) - len(y)
    if missing:
        # Of a fixed size, because a graph cannot know how many images are dropped.
        y = torch.cat((y, y.new_zeros((missing, *y.shape[1:])))).contiguous(
            memory_format=torch.channels_last
        )
        means = torch.cat((means, means.new_zeros(missing, means.shape[1])))
        if _hidden_is_kept(x):
            hidden = torch.cat((hidden, hidden.new_zeros(missing, *hidden.shape[1:])))
    return out, y, means, hidden


def _backward(
    grad: Tensor,
    x: Tensor,
    y: Tensor,
    means: Tensor,
    hidden: Tensor,
    weights: list[Tensor],
    eps: float,
    keep: Tensor | None,
) -> list[Tensor]:
    """Gradients of ``x`` and of the weights, in their order."""
    with torch.autocast('cpu', enabled=False):
        kept, scale = _kept(keep)
        count = len(x) if kept is None else len(kept)
        d_x, *d_weights = block_backward(
            *(_select(grad, kept), _select(x, kept), y[:count], means[:count]),
            hidden[:count] if _hidden_is_kept(x) else None,
            *(BlockWeights(*weights), eps, scale),
        )
        if kept is None:
            d_x = d_x.add_(grad)
        else:
            d_x = grad.clone(memory_format=torch.channels_last).index_add_(0, kept, d_x)
        return [d_x, *d_weights]


def _like_images(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


_library = torch.library.Library('selnext_mm', 'FRAGMENT')
_library.define(
    'seln_block(Tensor x, Tensor[] weights, float eps, Tensor? keep, ScalarType dtype, '
    'int? slot=None) -> Tensor'
)
_library.define(
    'seln_block_training(Tensor x, Tensor[] weights, float eps, Tensor? keep) '
    '-> (Tensor, Tensor, Tensor, Tensor)'
)
_library.define(
    'seln_block_backward(Tensor grad, Tensor x, Tensor y, Tensor means, Tensor hidden, '
    'Tensor[] weights, float eps, Tensor? keep) -> Tensor[]'
)
_library.impl('seln_block', _inference, 'CPU')
_library.impl('seln_block_training', _training, 'CPU')
_library.impl('seln_block_backward', _backward, 'CPU')
_register_fake = getattr(torch.library, 'register_fake', None) or torch.library.impl_abstract


@_register_fake('selnext_mm::seln_block')
def _(x, weights, eps, keep, dtype, slot=None):
    return _like_images(x)


@_register_fake('selnext_mm::seln_block_training')
def _(x, weights, eps, keep):
    n, _, height, width = x.shape
    wide = weights[3].shape[0]
    hidden = (n, height * width, wide) if _hidden_is_kept(x) else (0,)
    return _like_images(x), _like_images(x), x.new_empty((n, wide)), x.new_empty(hidden)


@_register_fake('selnext_mm::seln_block_backward')
def _(grad, x, y, means, hidden, weights, eps, keep):
    return [_like_images(x), *(torch.empty_like(w) for w in weights)]


class SelnBlock(torch.autograd.Function):
    """Saves ``x``, ``y`` and the means, and for small maps ``h``: 2 C values per position, or 6 C,
    where ConvNeXt's block keeps 12 C.
    """

    @staticmethod
    def forward(ctx, x, eps, keep, *weights):
        out, *saved = torch.ops.selnext_mm.seln_block_training(x, weights, eps, keep)
        ctx.save_for_backward(x, *saved, keep, *weights)
        ctx.eps = eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, y, means, hidden, keep, *weights = ctx.saved_tensors
        gradients = torch.ops.selnext_mm.seln_block_backward(
            grad, x, y, means, hidden, weights, ctx.eps, keep
        )
        return gradients[0], None, None, *gradients[1:]


@torch.no_grad()
def pack_block(w: BlockWeights, dtype: torch.dtype) -> PackedWeights:
    """Weights in the layout and dtype of the fast layers, to be kept while they do not change."""
    w = w.cast(dtype)
    w1 = pack_weight(w.w1)
    w2 = pack_weight((w.w2 * w.gamma[:, None]).to(dtype))
    return PackedWeights(w1, w2, w, dtype)
