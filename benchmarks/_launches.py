"""What a block does on a GPU, found out without one: its launches, and kernels compiled ahead.

The block's own code runs on meta tensors; Triton's launches are written down instead of made.
"""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

# Operators that start no kernel: views, allocations, questions.
SILENT = (
    *('view', '_unsafe_view', 't', 'transpose', 'permute', 'expand', 'slice', 'select', 'detach'),
    *('empty', 'empty_like', 'empty_strided', 'new_empty', 'alias', 'unsqueeze', 'as_strided'),
    *('_reshape_alias', 'split', 'squeeze', 'new_empty_strided'),
)
NAMES = {
    torch.float32: 'fp32',
    torch.bfloat16: 'bf16',
    torch.float16: 'fp16',
}


class Launch(NamedTuple):
    """``kernel`` is a Triton kernel or, for an operator of torch, its name."""

    kernel: object
    grid: tuple[int, ...]
    arguments: dict
    options: dict

    @property
    def name(self) -> str:
        return self.kernel if isinstance(self.kernel, str) else self.kernel.fn.__name__


class _Operators(TorchDispatchMode):
    def __init__(self, launches: list[Launch]) -> None:
        super().__init__()
        self.launches = launches

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        result = function(*args, **(kwargs or {}))
        if name not in SILENT:
            self.launches.append(Launch(name, (), {'args': args, 'result': result}, {}))
        return result


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """The launches that are made inside, Triton's and torch's, in their order."""
    from triton.runtime.jit import JITFunction

    launches: list[Launch] = []

    def run(self, *args, grid, warmup, **kwargs):
        names = self.arg_names
        options = {k: v for k, v in kwargs.items() if k not in names}
        arguments = dict(zip(names, args, strict=False))
        arguments.update((k, v) for k, v in kwargs.items() if k in names)
        launches.append(Launch(self, tuple(grid), arguments, options))

    with mock.patch.object(JITFunction, 'run', run), _Operators(launches):
        yield launches


def _is_constant(kernel: object, name: str) -> bool:
    return kernel.params[kernel.arg_names.index(name)].is_constexpr


def signature(launch: Launch) -> tuple[dict, dict, dict]:
    """Types, constants and divisibilities as Triton's compiler wants them."""
    kernel = launch.kernel
    types, constants, divisible = {}, {}, {}
    for position, name in enumerate(kernel.arg_names):
        value = launch.arguments[name]
        special = not kernel.params[position].do_not_specialize
        if _is_constant(kernel, name) or value is None:
            types[name], constants[(position,)] = 'constexpr', value
        elif isinstance(value, Tensor):
            types[name] = f'*{NAMES[value.dtype]}'
            divisible[(position,)] = [['tt.divisibility', 16]]
        elif isinstance(value, float):
            types[name] = 'fp32'
        elif special and value == 1:
            types[name], constants[(position,)] = 'constexpr', 1
        else:
            types[name] = 'i32' if -(2**31) <= value < 2**31 else 'i64'
            if special:
                divisible[(position,)] = [['tt.divisibility', 16]] if value % 16 == 0 else []
    return types, constants, divisible


class Compiled(NamedTuple):
    """``registers`` per thread; ``spilled`` bytes of local memory; ``shared`` bytes a program."""

    registers: int
    spilled: int
    shared: int
    threads: int


def compile_ahead(launch: Launch, capability: int) -> Compiled:
    """Compile the kernel for a GPU of this compute capability, 90 for 9.0."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types, constants, divisible = signature(launch)
    source = ASTSource(fn=launch.kernel, signature=types, constexprs=constants, attrs=divisible)
    compiled = triton.compile(
        source, target=GPUTarget('cuda', capability, 32), options=launch.options
    )
    tool = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / 'cuobjdump'
    cubin = Path(compiled.metadata_group[f'{compiled.metadata.name}.cubin'])
    text = subprocess.run(
        [tool, '--dump-resource-usage', cubin], capture_output=True, text=True, check=True
    ).stdout
    found = {k: int(v) for k, v in re.findall(r'(REG|STACK|SHARED|LOCAL):(\d+)', text)}
    return Compiled(
        *(found['REG'], found['STACK'] + found['LOCAL'], compiled.metadata.shared),
        32 * compiled.metadata.num_warps,
    )


def block_arguments(
    channels: int, side: tuple[int, int], images: int, dtype: torch.dtype
) -> tuple[Tensor, list[Tensor]]:
    """Input and weights of a block on the meta device."""
    wide, squeezed = 4 * channels, channels // 4

    def new(*shape: int) -> Tensor:
        return torch.empty(shape, device='meta')

    weights = [
        *(new(channels, 1, 7, 7), new(channels), new(wide, channels), new(wide)),
        *(new(squeezed, wide), new(squeezed), new(wide, squeezed), new(wide), new(wide)),
        *(new(wide), new(channels, wide), new(channels), new(channels)),
    ]
    x = new(images, channels, *side).to(dtype, memory_format=torch.channels_last)
    return x, weights


def block_launches(
    channels: int,
    side: tuple[int, int],
    images: int,
    dtype: torch.dtype,
    training: bool,
    branch_scale: bool = False,
    prepared: bool = True,
) -> tuple[list[Launch], list[Launch]]:
    """Launches of the forward and of the backward pass of one block.

    Without ``training`` there is no backward pass; ``prepared`` leaves out the launch that casts
    the weights, as in a deployed model.
    """
    from selnext_mm.ops.seln_block import gpu_operator
    from selnext_mm.ops.seln_block.equations import BlockWeights
    from selnext_mm.ops.seln_block.gpu_forward import gpu_forward, prepare_weights, site_of

    x, weights = block_arguments(channels, side, images, dtype)
    scale = torch.empty(images, device='meta') if branch_scale else None
    if not training:
        w = BlockWeights(*weights)
        with recorded() as forward:
            low = prepare_weights(w, dtype)
        if prepared:
            forward.clear()
        with recorded() as rest:
            gpu_forward(site_of(x, w, dtype, scale), x, w, low, 1e-5, scale, training=False)
        return forward + rest, []
    with recorded() as forward:
        out, saved = gpu_operator.gpu_training(x, weights, 1e-5, scale, dtype)
    with recorded() as backward:
        gpu_operator.gpu_gradient(out, x, saved, weights, 1e-5, scale, dtype)
    return forward, backward
