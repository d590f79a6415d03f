"""The SELNeXt block as one differentiable call, and the choice of what computes it."""

import functools
import logging
import os
from typing import NamedTuple

import torch
from mmengine.logging import print_log
from torch import Tensor

from .capabilities import (
    autocast_dtype,
    has_fused_linear,
    is_compiling,
    is_plain,
    is_recorded,
    tf32_is_allowed,
)
from .packed import PackedOnce
from .seln_block import BlockWeights, block_reference
from .seln_block_lean import lean_block
from .seln_block_op import SelnBlock

GATE_NORM_EPS = 1e-5
CPU_DTYPES = (torch.float32, torch.bfloat16)
# Largest relative error of the Triton kernels in a trial, per dtype; with TF32 ten bits are left.
TRIAL_ERROR = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}
TRIAL_ERROR_TF32 = 5e-3


class Choice(NamedTuple):
    """``kernel``: 'cpu', 'lean' (with a gradient) or 'triton'; ``dtype``: of the products."""

    kernel: str
    dtype: torch.dtype


@functools.cache
def _try_triton(device: torch.device, dtype: torch.dtype, channels: int, tf32: bool) -> bool:
    allowed = TRIAL_ERROR_TF32 if tf32 and dtype == torch.float32 else TRIAL_ERROR[dtype]
    try:
        from .seln_block_triton import kernel_weights, triton_block

        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            generator = torch.Generator().manual_seed(0)

            def draw(*shape: int) -> Tensor:
                fan = shape[-1] if len(shape) == 2 else 49 if len(shape) == 4 else 4
                return (torch.randn(shape, generator=generator) * fan**-0.5).to(device)

            wide, hidden = 4 * channels, 8
            w = BlockWeights(
                *(draw(channels, 1, 7, 7), draw(channels), draw(wide, channels), draw(wide)),
                *(draw(hidden, wide), draw(hidden), draw(wide, hidden), draw(wide), draw(wide)),
                *(draw(wide), draw(channels, wide), draw(channels), draw(channels)),
            )
            x = torch.randn((2, channels, 9, 7), generator=generator).to(device)
            exact = block_reference(x.double(), BlockWeights(*(t.double() for t in w)), 1e-5)
            out = triton_block(x, kernel_weights(w, dtype), 1e-5).double()
            error = float((out - exact).norm() / exact.norm())
            if not error <= allowed:
                raise ArithmeticError(f'relative error {error:.1e}, more than {allowed:.0e}')
    except Exception as error:  # a compiler's errors have no common class
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        print_log(
            f"impl='fused': the Triton kernels do not work on {device} in {dtype} for {channels} "
            f'channels ({reason}); such blocks are computed layer by layer',
            'current',
            logging.WARNING,
        )
        return False
    return True


def has_triton_block(x: Tensor, dtype: torch.dtype, channels: int) -> bool:
    """Whether the Triton kernels work on the device of ``x``: tried once, on a small map."""
    if x.device.type != 'cuda' and os.environ.get('TRITON_INTERPRET') != '1':
        return False
    return _try_triton(x.device, dtype, channels, tf32_is_allowed())


def needs_gradient(x: Tensor, w: BlockWeights) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in (x, *w))


def choose(x: Tensor, w: BlockWeights, everywhere: bool = False) -> Choice | None:
    """What computes the block, None where the reference has to.

    ``everywhere`` allows what is right, but has not been timed on the devices that it is for.
    """
    if is_recorded() or x.device.type not in ('cpu', 'cuda') or x.ndim != 4 or x.numel() == 0:
        return None
    own = w.w1.dtype
    dtype = autocast_dtype(x.device.type) or own
    if not all(is_plain(t) and t.device == x.device and t.dtype == own for t in w):
        return None
    # Under autocast the layer before may have given the narrower dtype.
    if not is_plain(x) or x.dtype not in (own, dtype):
        return None
    training = needs_gradient(x, w)
    if training and not (own == torch.float32 and all(t.requires_grad for t in w[:-1])):
        return None
    cpu = x.device.type == 'cpu' and own in CPU_DTYPES and dtype in CPU_DTYPES
    if cpu and has_fused_linear(dtype) and not (training and dtype != torch.float32):
        return Choice('cpu', dtype)
    if is_compiling() or {own, dtype} - TRIAL_ERROR.keys():
        return None
    if training:
        low_on_cpu = cpu and dtype == torch.bfloat16
        return Choice('lean', dtype) if everywhere or low_on_cpu else None
    return (
        Choice('triton', dtype) if everywhere and has_triton_block(x, dtype, x.shape[1]) else None
    )


def seln_block(
    x: Tensor,
    w: BlockWeights,
    eps: float = GATE_NORM_EPS,
    keep: Tensor | None = None,
    packed: PackedOnce | None = None,
    everywhere: bool = False,
) -> Tensor:
    """``x + keep * gamma * W2 SELN(gelu(W1 dwconv(x)))``, (N, C, H, W) -> (N, C, H, W).

    Fast on CPUs, with the gradient where one is needed, in float32, and without a gradient in
    bfloat16 too (autocast included): channels-last in and out, branches that stochastic depth
    drops are not computed, and the backward pass recomputes what has 4 C channels. Training under
    bfloat16 autocast on a CPU is :func:`.seln_block_lean.lean_block`. All else is
    :func:`block_reference`, or with ``everywhere`` the Triton kernels and ``lean_block``.

    Args:
        x: the input.
        w: the parameters; ``gamma`` may be a constant 1.
        eps: of the gate's norm.
        keep: (N), the factor of each image's branch: 0 or, the same for all others, 1 / (1 - rate).
        packed: keeps the packed form of ``w`` between calls without gradient and ``keep``.
        everywhere: see :func:`choose`.
    """
    choice = choose(x, w, everywhere)
    if choice is None:
        return block_reference(x, w, eps, keep)
    kernel, dtype = choice
    if kernel == 'lean':
        return lean_block(x, w, eps, keep, dtype)
    x = x.to(w.w1.dtype)
    if needs_gradient(x, w):
        return SelnBlock.apply(x, eps, keep, *w)
    with torch.no_grad():
        if kernel == 'triton':
            from .seln_block_triton import kernel_weights, triton_block

            kept = (
                None if packed is None or keep is not None else packed.get(w, kernel_weights, dtype)
            )
            with torch.autocast(x.device.type, enabled=False):
                out = triton_block(x, kept or kernel_weights(w, dtype), eps)
            return out if keep is None else x + (out - x) * keep.view(-1, 1, 1, 1)
        slot = None if packed is None else packed.number
        return torch.ops.selnext_mm.seln_block(x, list(w), eps, keep, dtype, slot)
