"""The SELNeXt block as one differentiable call, and the choice of its kernel.

:data:`KERNELS` lists the kernels in the order in which they are tried. :func:`plan_block` returns
the plan for a block, or None if its layers have to compute it.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..capabilities import (
    autocast_dtype,
    has_fused_linear,
    is_compiling,
    is_plain,
    is_recorded,
    tf32_is_allowed,
)
from ..packed import PackedOnce
from .cpu_operator import SelnBlock
from .equations import GATE_NORM_EPS, BlockWeights, block_reference
from .gpu_choice import gpu_block_works, gpu_reason, interpreter_is_on
from .recompute import recompute_block

CPU_DTYPES = (torch.float32, torch.bfloat16)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Request(NamedTuple):
    """What a kernel has to support; ``dtype`` is the products' dtype, ``own`` the weights'."""

    device: torch.device
    own: torch.dtype
    dtype: torch.dtype
    training: bool
    compiling: bool
    allow_untimed: bool
    channels: int
    dense: bool = True  # all weights of two dimensions are contiguous


class Plan(NamedTuple):
    """A key of :data:`KERNELS`, the dtype of the products, and whether a gradient is needed."""

    kernel: str
    dtype: torch.dtype
    training: bool


class Call(NamedTuple):
    """The arguments of one block."""

    x: Tensor
    w: BlockWeights
    eps: float
    branch_scale: Tensor | None
    packed: PackedOnce | None
    dtype: torch.dtype
    training: bool

    @property
    def slot(self) -> int | None:
        return None if self.packed is None else self.packed.number


class Kernel(NamedTuple):
    supports: Callable[[Request], bool]
    run: Callable[[Call], Tensor]


def _cpu_supports(r: Request) -> bool:
    if r.device.type != 'cpu' or r.own not in CPU_DTYPES or r.dtype not in CPU_DTYPES:
        return False
    return has_fused_linear(r.dtype) and not (r.training and r.dtype != torch.float32)


def _run_on_cpu(call: Call) -> Tensor:
    x = call.x.to(call.w.w1.dtype)
    if call.training:
        return SelnBlock.apply(x, call.eps, call.branch_scale, *call.w)
    with torch.no_grad():
        return torch.ops.selnext_mm.seln_block(
            x, list(call.w), call.eps, call.branch_scale, call.dtype, call.slot
        )


def _gpu_supports(r: Request) -> bool:
    if r.device.type != 'cuda' and not interpreter_is_on():
        return False
    tf32 = tf32_is_allowed()
    if not (r.allow_untimed or gpu_reason(r.device, r.dtype, tf32)):
        return False
    if not r.dense:
        return False
    # For torch.compile a string is a constant, but a device is not.
    device = str(r.device) if r.compiling else r.device
    return gpu_block_works(device, r.dtype, r.channels, tf32)


def _run_on_gpu(call: Call) -> Tensor:
    from . import gpu_operator

    block = gpu_operator.CompiledGpuBlock if is_compiling() else gpu_operator.GpuBlock
    if call.training:
        return block.apply(call.x, call.eps, call.branch_scale, call.dtype, *call.w)
    options = call.eps, call.branch_scale, call.dtype
    with torch.no_grad():
        if is_compiling():
            # A recorded CUDA graph would go on with weights that were prepared before they changed.
            return torch.ops.selnext_mm.seln_block_gpu(call.x, list(call.w), *options)
        return gpu_operator.gpu_inference(call.x, call.w, *options, call.slot)


def _recompute_supports(r: Request) -> bool:
    """Whether the case is bfloat16 training on a CPU; other cases have not been timed."""
    if not r.training or r.compiling:
        return False
    return r.allow_untimed or (r.device.type == 'cpu' and r.dtype == torch.bfloat16)


def _run_recomputing(call: Call) -> Tensor:
    return recompute_block(call.x, call.w, call.eps, call.branch_scale, call.dtype)


KERNELS = {
    'cpu': Kernel(_cpu_supports, _run_on_cpu),
    'gpu': Kernel(_gpu_supports, _run_on_gpu),
    'recompute': Kernel(_recompute_supports, _run_recomputing),
}


def needs_gradient(x: Tensor, w: BlockWeights) -> bool:
    return torch.is_grad_enabled() and any(t.requires_grad for t in (x, *w))


def plan_block(x: Tensor, w: BlockWeights, allow_untimed: bool = False) -> Plan | None:
    """The plan for the block; None if its layers have to compute it.

    ``allow_untimed`` allows kernels that are correct but have not been timed on the device. A
    kernel that is known to be slower than the layers is never chosen.
    """
    if is_recorded() or x.device.type not in ('cpu', 'cuda') or x.ndim != 4 or x.numel() == 0:
        return None
    own, device = w.w1.dtype, x.device
    dtype = autocast_dtype(device.type) or own
    if own not in DTYPES or dtype not in DTYPES:
        return None
    for t in w:
        if t.dtype is not own or t.device != device or not is_plain(t):
            return None
    # Under autocast the previous layer may have returned the narrower dtype.
    if not is_plain(x) or x.dtype not in (own, dtype):
        return None
    training = needs_gradient(x, w)
    if training and not (own == torch.float32 and all(t.requires_grad for t in w[:-1])):
        return None
    channels = w.b2.shape[0]  # read from a parameter, so that it is a constant for torch.compile
    dense = all(t.is_contiguous() for t in w if t.ndim == 2)
    request = Request(device, own, dtype, training, is_compiling(), allow_untimed, channels, dense)
    for name, kernel in KERNELS.items():
        if kernel.supports(request):
            return Plan(name, dtype, training)
    return None


def run_block(
    plan: Plan,
    x: Tensor,
    w: BlockWeights,
    eps: float = GATE_NORM_EPS,
    branch_scale: Tensor | None = None,
    packed: PackedOnce | None = None,
) -> Tensor:
    """Run the block by a plan of :func:`plan_block`; other arguments as for :func:`seln_block`."""
    return KERNELS[plan.kernel].run(Call(x, w, eps, branch_scale, packed, *plan[1:]))


def seln_block(
    x: Tensor,
    w: BlockWeights,
    eps: float = GATE_NORM_EPS,
    branch_scale: Tensor | None = None,
    packed: PackedOnce | None = None,
    allow_untimed: bool = False,
) -> Tensor:
    """``x + branch_scale * gamma * W2 SELN(gelu(W1 dwconv(x)))``, (N, C, H, W) -> (N, C, H, W).

    Fast on CPUs in float32 with and without a gradient, and in bfloat16 (autocast included) without
    one. Input and output are channels-last. Branches that stochastic depth drops are not computed,
    and the backward pass recomputes large maps of 4 C channels. Fast on NVIDIA GPUs in float32,
    bfloat16 and float16; there the result has the dtype of the products. Training under bfloat16
    autocast on a CPU uses :func:`.recompute.recompute_block`, all other cases
    :func:`block_reference`.

    Args:
        x: the input.
        w: the parameters; ``gamma`` may be a constant 1.
        eps: of the gate's norm.
        branch_scale: (N), the factor of each image's branch: 0 for a dropped branch, and for all
            others the same 1 / (1 - rate).
        packed: keeps the packed form of ``w`` between calls without a gradient.
        allow_untimed: see :func:`plan_block`.
    """
    plan = plan_block(x, w, allow_untimed)
    if plan is None:
        return block_reference(x, w, eps, branch_scale)
    return run_block(plan, x, w, eps, branch_scale, packed)
