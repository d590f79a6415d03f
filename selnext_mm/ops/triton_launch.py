"""Launching Triton kernels with little CPU overhead.

Triton inspects every argument, its own options and the environment at each launch; on a slow host
that takes longer than the kernel. A :class:`Launcher` leaves this to Triton only at the first
launch of a family of calls, which differ in addresses and sizes only. After that it passes the
addresses directly to the compiled kernel.
"""

import functools
import os
from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

TENSORS = {Tensor, nn.Parameter}
ALIGNMENT = 16  # bytes; what torch allocates is aligned to more


def current_stream(device: torch.device) -> int:
    """The handle of the current stream, 0 without a GPU."""
    if device.type != 'cuda':
        return 0
    return torch._C._cuda_getCurrentRawStream(device.index)


def on_device(x: Tensor) -> AbstractContextManager:
    """Within it the device of ``x`` is the current one, on which kernels run."""
    if x.device.type != 'cuda' or torch.cuda.current_device() == x.device.index:
        return nullcontext()
    return torch.cuda.device(x.device)


def are_aligned(*tensors: Tensor | None) -> bool:
    """Whether all addresses are multiples of :data:`ALIGNMENT`, which compiled kernels rely on."""
    address = 0
    for tensor in tensors:
        if tensor is not None:
            address |= tensor.data_ptr()
    return address % ALIGNMENT == 0


@functools.cache
def can_relaunch() -> bool:
    """Whether compiled kernels may be launched directly.

    Not in Triton's interpreter, and not before Triton 3.4, whose launches had other arguments.
    """
    import triton

    version = tuple(int(part) for part in triton.__version__.split('.')[:2])
    return os.environ.get('TRITON_INTERPRET') != '1' and version >= (3, 4)


class Launcher:
    """A kernel that is launched repeatedly.

    ``Launcher.direct = False`` makes Triton itself do every launch of all launchers.

    Args:
        kernel: the Triton function; its constants come last among its parameters.
        options: ``num_warps``, ``num_stages``.
    """

    direct = True

    def __init__(self, kernel, **options: int) -> None:
        self.kernel, self.options = kernel, options
        self.compiled: dict[Hashable, Any] = {}

    def __call__(
        self,
        family: Hashable,
        stream: int,
        grid: tuple[int, int, int],
        constants: tuple,
        *arguments: Tensor | float | None,
    ) -> None:
        """Launch the kernel.

        Args:
            family: identifies the device, the dtypes of all tensors, which arguments are None,
                whether all addresses are aligned, and the values of the integers on which the
                kernel is specialised.
            stream: from :func:`current_stream`; the kernel runs on the current device.
            grid: number of programs along each axis.
            constants: the values of the kernel's constants, in their order.
            arguments: all other arguments, in their order.
        """
        known = self.compiled.get((family, constants)) if Launcher.direct else None
        if known is None:
            compiled = self.kernel[grid](*arguments, *constants, **self.options)
            if can_relaunch() and hasattr(compiled, 'packed_metadata'):
                self.compiled[family, constants] = (
                    *(compiled.run, compiled.function, compiled.packed_metadata),
                )
            return
        run, function, metadata = known
        run(
            *(*grid, stream, function, metadata, None, None, None),
            *[
                # isinstance() takes longer.
                a.data_ptr() if a.__class__ in TENSORS else a  # type: ignore[union-attr]
                for a in arguments
            ],
            *constants,
        )
