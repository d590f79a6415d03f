"""The block on a CPU as torch operators, without and with its gradient.

Registered with torch, so that ``torch.compile`` takes each block as one node of its graph instead
of breaking the graph at it.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..capabilities import without_autocast
from ..fake import fake_of
from ..gelu_linear import linear, pack_weight
from ..packed import PackedOnce
from .cpu_backward import block_backward
from .cpu_forward import PackedWeights, depthwise, gated_mlp
from .equations import BlockWeights, gate_goes_into_w2, images_of, rows_of


def _select(x: Tensor, images: Tensor | None) -> Tensor:
    """The ``images`` of ``x`` (all if None), channels-last."""
    x = x if images is None else x[images]
    return x.contiguous(memory_format=torch.channels_last)


def _computed_images(branch_scale: Tensor | None) -> tuple[Tensor | None, float]:
    """Indices of the images whose branch is computed (None for all), and the branch's factor."""
    if branch_scale is None:
        return None, 1.0
    images = branch_scale.nonzero().flatten()
    scale = branch_scale[images[0]].item() if len(images) else 1.0
    return (None if len(images) == len(branch_scale) else images), scale


def _forward(
    x: Tensor,
    w: BlockWeights,
    eps: float,
    branch_scale: Tensor | None,
    packed: PackedWeights | None = None,
    keep_hidden: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The output, ``y``, the means and ``h``; all but the output leave out the dropped images."""
    with without_autocast('cpu'):
        images, scale = _computed_images(branch_scale)
        chosen = _select(x, images)
        y = depthwise(chosen, w)
        hidden = None
        if keep_hidden:
            rows = rows_of(y)
            hidden = linear(rows.flatten(0, 1), w.w1, w.b1).view(*rows.shape[:2], len(w.b1))
        rows, means = gated_mlp(rows_of(y), rows_of(chosen), w, eps, scale, packed, hidden)
        out = images_of(rows, chosen)
        if images is not None:
            out = x.clone(memory_format=torch.channels_last).index_copy_(0, images, out)
        return out, y, means, hidden


def _inference(
    x: Tensor,
    weights: list[Tensor],
    eps: float,
    branch_scale: Tensor | None,
    dtype: torch.dtype,
    slot: int | None = None,
) -> Tensor:
    """``slot`` is the number of a :class:`PackedOnce` that keeps the weights packed, if any."""
    w = BlockWeights(*weights)
    cache = None if slot is None or branch_scale is not None else PackedOnce.numbered(slot)
    packed = None if cache is None else cache.get(w, pack_block, dtype)
    if packed is None:
        return _forward(x, w.cast(dtype), eps, branch_scale)[0]
    return _forward(x, packed.rest, eps, None, packed)[0]


def _hidden_is_kept(x: Tensor) -> bool:
    """Whether ``h`` is kept for the backward pass: for small maps, where it takes little memory."""
    return not gate_goes_into_w2(x.shape[2] * x.shape[3], x.shape[1])


def _training(
    x: Tensor, weights: list[Tensor], eps: float, branch_scale: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Output, ``y``, means and ``h``, which is empty where it is not kept."""
    out, y, means, hidden = _forward(
        x, BlockWeights(*weights), eps, branch_scale, keep_hidden=_hidden_is_kept(x)
    )
    if hidden is None:
        hidden = x.new_empty((0,))
    missing = len(x) - len(y)
    if missing:
        # Padded to a fixed size, because a graph cannot know how many images are dropped.
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
    branch_scale: Tensor | None,
) -> list[Tensor]:
    """Gradients of ``x`` and of the weights, in their order."""
    with without_autocast('cpu'):
        images, scale = _computed_images(branch_scale)
        count = len(x) if images is None else len(images)
        d_x, *d_weights = block_backward(
            *(_select(grad, images), _select(x, images), y[:count], means[:count]),
            hidden[:count] if _hidden_is_kept(x) else None,
            *(BlockWeights(*weights), eps, scale),
        )
        if images is None:
            d_x = d_x.add_(grad)
        else:
            d_x = grad.clone(memory_format=torch.channels_last).index_add_(0, images, d_x)
        return [d_x, *d_weights]


def _like_images(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


_library = torch.library.Library('selnext_mm', 'FRAGMENT')
_library.define(
    'seln_block(Tensor x, Tensor[] weights, float eps, Tensor? branch_scale, ScalarType dtype, '
    'int? slot=None) -> Tensor'
)
_library.define(
    'seln_block_training(Tensor x, Tensor[] weights, float eps, Tensor? branch_scale) '
    '-> (Tensor, Tensor, Tensor, Tensor)'
)
_library.define(
    'seln_block_backward(Tensor grad, Tensor x, Tensor y, Tensor means, Tensor hidden, '
    'Tensor[] weights, float eps, Tensor? branch_scale) -> Tensor[]'
)
_library.impl('seln_block', _inference, 'CPU')
_library.impl('seln_block_training', _training, 'CPU')
_library.impl('seln_block_backward', _backward, 'CPU')


@fake_of(_library, 'seln_block')
def _(x, weights, eps, branch_scale, dtype, slot=None):
    return _like_images(x)


@fake_of(_library, 'seln_block_training')
def _(x, weights, eps, branch_scale):
    n, _, height, width = x.shape
    wide = weights[3].shape[0]
    hidden = (n, height * width, wide) if _hidden_is_kept(x) else (0,)
    return _like_images(x), _like_images(x), x.new_empty((n, wide)), x.new_empty(hidden)


@fake_of(_library, 'seln_block_backward')
def _(grad, x, y, means, hidden, weights, eps, branch_scale):
    return [_like_images(x), *(torch.empty_like(w) for w in weights)]


class SelnBlock(torch.autograd.Function):
    """Saves ``x``, ``y`` and the means, 2 C values per position, and for small maps also ``h``, 6 C
    in all. ConvNeXt's block keeps 12 C.
    """

    @staticmethod
    def forward(ctx, x, eps, branch_scale, *weights):
        out, *saved = torch.ops.selnext_mm.seln_block_training(x, weights, eps, branch_scale)
        ctx.save_for_backward(x, *saved, branch_scale, *weights)
        ctx.eps = eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, y, means, hidden, branch_scale, *weights = ctx.saved_tensors
        gradients = torch.ops.selnext_mm.seln_block_backward(
            grad, x, y, means, hidden, weights, ctx.eps, branch_scale
        )
        return gradients[0], None, None, *gradients[1:]


@torch.no_grad()
def pack_block(w: BlockWeights, dtype: torch.dtype) -> PackedWeights:
    """Weights in the layout and dtype of the fast layers, to be kept until they change."""
    w = w.cast(dtype)
    w1 = pack_weight(w.w1)
    w2 = pack_weight((w.w2 * w.gamma[:, None]).to(dtype))
    return PackedWeights(w1, w2, w, dtype)
