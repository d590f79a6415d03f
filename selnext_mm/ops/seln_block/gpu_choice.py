"""Where the GPU kernels are used: correct in a trial, and measured or predicted to be fast."""

import functools
import logging
import os
from typing import NamedTuple

import torch
from torch import Tensor

from selnext_mm.framework import print_log

from ..capabilities import without_autocast
from ..triton_launch import Launcher, can_relaunch
from .equations import GATE_NORM_EPS, BlockWeights, block_reference

# Largest allowed relative error of the output and the gradients in a trial. A wrong kernel is off
# by much more, the rounding of one product is smaller. TF32 keeps only ten mantissa bits.
TRIAL_ERROR = {torch.float32: 1e-4, torch.bfloat16: 6e-2, torch.float16: 1e-2}
TRIAL_ERROR_TF32 = 1e-2


class Reason(NamedTuple):
    """Why the kernels are used on devices of this compute capability and above.

    ``evidence`` starts with "measured" or "predicted", see docs/performance.md.
    """

    capability: tuple[int, int]
    dtype: torch.dtype
    tf32: bool
    evidence: str


# As shares of the inference time of ConvNeXt-T on an H100.
_HALF = 'predicted: 0.45'
_FLOAT = {False: 'predicted: 0.83', True: 'predicted: 0.73'}
REASONS = tuple(
    Reason((8, 0), dtype, tf32, _FLOAT[tf32] if dtype == torch.float32 else _HALF)
    for dtype in TRIAL_ERROR
    for tf32 in (False, True)
)


def gpu_reason(device: torch.device, dtype: torch.dtype, tf32: bool) -> str | None:
    """Why the kernels are used in this case; None if there is no reason to use them."""
    if device.type != 'cuda' or torch.version.hip:
        return None
    return _reason(device.index, dtype, tf32)


def _reason(index: int | None, dtype: torch.dtype, tf32: bool) -> str | None:
    return _look_up_reason(index, dtype, tf32)


# What torch.compiler.assume_constant_result does; that one would import the whole compiler. The
# compiler does not see a mark on the wrapper of functools.cache.
_reason._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _look_up_reason(index: int | None, dtype: torch.dtype, tf32: bool) -> str | None:
    capability = torch.cuda.get_device_capability(index)
    for reason in REASONS:
        if capability >= reason.capability and (dtype, tf32) == (reason.dtype, reason.tf32):
            return reason.evidence
    return None


def interpreter_is_on() -> bool:
    """Whether Triton's kernels run in its interpreter, on a CPU."""
    return os.environ.get('TRITON_INTERPRET') == '1'


def gpu_block_works(
    device: torch.device | str, dtype: torch.dtype, channels: int, tf32: bool
) -> bool:
    """Whether the kernels compile and give correct results there: tried once, on small maps."""
    return _try_block(device, dtype, channels, tf32)


gpu_block_works._dynamo_marked_constant = True  # type: ignore[attr-defined]


@functools.cache
def _try_block(device: torch.device | str, dtype: torch.dtype, channels: int, tf32: bool) -> bool:
    found = _tried(torch.device(device), dtype, channels, tf32)
    if found and Launcher.direct and can_relaunch():
        # Direct launches may not work with this version of Triton.
        Launcher.direct = False
        found = _tried(torch.device(device), dtype, channels, tf32)
        Launcher.direct = bool(found)  # they are not the reason
    if found:
        print_log(
            f'the GPU kernels of SELNeXt do not work on {device} in {dtype} for {channels} '
            f'channels ({found}); such blocks are computed layer by layer',
            'current',
            logging.WARNING,
        )
    return not found


def _tried(device: torch.device, dtype: torch.dtype, channels: int, tf32: bool) -> str:
    """What is wrong with the kernels; empty if they work."""
    allowed = TRIAL_ERROR_TF32 if tf32 and dtype == torch.float32 else TRIAL_ERROR[dtype]
    small, large = (5, 3), (2 * channels // 32 + 2, 33)  # the gate scales the map, and W2
    try:
        for size in (small, large, small, large):  # from the third on all launches are direct
            error = _trial_error(device, dtype, channels, size)
            if not error <= allowed:
                raise ArithmeticError(f'relative error {error:.1e}, more than {allowed:.0e}')
    except Exception as error:  # a compiler's errors have no common class
        return (str(error).strip() or repr(error)).splitlines()[0]
    return ''


def _trial_error(
    device: torch.device, dtype: torch.dtype, channels: int, size: tuple[int, int]
) -> float:
    """Largest relative error of the output and all gradients."""
    from .gpu_operator import GpuBlock

    eps = GATE_NORM_EPS
    generator = torch.Generator('cpu').manual_seed(0)

    def draw(*shape: int) -> Tensor:
        fan = shape[-1] if len(shape) == 2 else 49 if len(shape) == 4 else 4
        # On the CPU also where the caller has set another default device.
        return (torch.randn(shape, generator=generator, device='cpu') * fan**-0.5).to(device)

    wide, hidden = 4 * channels, max(1, channels // 4)
    w = BlockWeights(
        *(draw(channels, 1, 7, 7), draw(channels), draw(wide, channels), draw(wide)),
        *(draw(hidden, wide), draw(hidden), draw(wide, hidden), draw(wide), draw(wide)),
        *(draw(wide), draw(channels, wide), draw(channels), draw(channels)),
    )
    images = [draw(2, channels, *size) * 7 for _ in '12']

    def both_passes(function, to: torch.dtype) -> list[Tensor]:
        leaves = [t.detach().to(to).requires_grad_() for t in (images[0], *w)]
        out = function(leaves[0], BlockWeights(*leaves[1:]))
        return [out, *torch.autograd.grad(out, leaves, images[1].to(out.dtype))]

    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        without_autocast(device.type),
    ):
        exact = both_passes(lambda x, w: block_reference(x, w, eps), torch.float64)
        found = both_passes(lambda x, w: GpuBlock.apply(x, eps, None, dtype, *w), torch.float32)
    errors = [(a.double() - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)]
    return float(torch.stack(errors).max().detach())
