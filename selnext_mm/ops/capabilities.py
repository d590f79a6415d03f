"""What this build of torch can do, tested once; and whether calls are recorded or hooked."""

import functools
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as nn_module

# Raised by a private operator that is missing, has another signature, or refuses the machine.
PRIVATE_ERRORS = (AttributeError, NotImplementedError, RuntimeError, TypeError)


@functools.cache
def _try_fused_linear(dtype: torch.dtype) -> bool:
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 3e-2}.get(dtype)
    if tolerance is None or not torch.backends.mkldnn.is_available():
        return False
    try:
        with torch.no_grad(), without_autocast('cpu'):
            ramp = torch.linspace(-1, 1, 17 * 32, device='cpu', dtype=torch.float32).view(17, 32)
            x, weight, bias = (t.to(dtype) for t in (ramp, ramp[:8].sin() * 4, ramp[0, :8]))
            plain = F.linear(*(t.float() for t in (x, weight, bias)))
            linear = torch.ops.mkldnn._linear_pointwise
            for w in (weight, torch.ops.mkldnn._reorder_linear_weight(weight, 17)):
                out = linear(x, w, bias, 'gelu', [], 'none')
                for got, wanted in (
                    (linear(x, w, bias, 'none', [], ''), plain),
                    (linear(x, w, None, 'none', [], ''), plain - bias.float()),
                    (out, F.gelu(plain)),
                    (linear.binary(x, out, w, bias, 'add'), plain + out.float()),
                ):
                    if (got.float() - wanted).abs().max() > tolerance * wanted.abs().max():
                        return False
    except PRIVATE_ERRORS:
        return False
    return True


def has_fused_linear(dtype: torch.dtype) -> bool:
    """Whether oneDNN's linear layer with a fused GELU or sum exists and gives correct results.

    The operators are private to torch (``torch.ops.mkldnn``), so they are tried on a small case
    and compared with the public functions before anything relies on them.
    """
    return _try_fused_linear(dtype)


# What torch.compiler.assume_constant_result does; that one would import the whole compiler.
has_fused_linear._dynamo_marked_constant = True  # type: ignore[attr-defined]


def has_bfloat16_instructions() -> bool:
    """Whether the CPU multiplies bfloat16 (AVX512-BF16, AMX); True if torch cannot tell."""
    tell = getattr(torch.cpu, '_is_avx512_bf16_supported', None)
    return True if tell is None else bool(tell())


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """The dtype of autocast on a device; None if autocast is off, or there is none (``meta``)."""
    if device_type == 'meta':
        return None
    try:
        enabled = torch.is_autocast_enabled(device_type)
    except TypeError:  # torch < 2.4 has a function per device
        cpu = device_type == 'cpu'
        if not (torch.is_autocast_cpu_enabled() if cpu else torch.is_autocast_enabled()):
            return None
        return torch.get_autocast_cpu_dtype() if cpu else torch.get_autocast_gpu_dtype()
    return torch.get_autocast_dtype(device_type) if enabled else None


def without_autocast(device_type: str) -> AbstractContextManager:
    """Autocast switched off; a no-op on the meta device, and on MPS before torch 2.5."""
    if device_type == 'meta' or (device_type == 'mps' and not _mps_has_autocast()):
        return nullcontext()
    return torch.autocast(device_type, enabled=False)


def _mps_has_autocast() -> bool:
    tell = getattr(torch.amp, 'is_autocast_available', None)
    return tell is not None and tell('mps')


def tf32_is_allowed() -> bool:
    """Whether matrix products on a GPU may be computed in TF32."""
    try:
        return torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:  # set by the newer fp32_precision, which forbids reading this flag
        return torch.backends.cuda.matmul.fp32_precision == 'tf32'


def is_compiling() -> bool:
    """Whether ``torch.compile`` (or ``torch.export``) is tracing the caller."""
    compiler = getattr(torch, 'compiler', None)
    if hasattr(compiler, 'is_compiling'):
        return compiler.is_compiling()
    return torch._dynamo.is_compiling()


def is_recorded() -> bool:
    """Whether individual operators are being recorded or counted.

    ``torch.jit.trace``, the ONNX exporters, ``torch.export``, functional transforms (``vmap``,
    ``torch.func.grad``), forward-mode differentiation and dispatch modes (fake tensors, FLOP
    counters) have to see every operator, not one fused call.
    """
    if torch.jit.is_tracing() or torch.jit.is_scripting():
        return True
    exporting = getattr(torch.compiler, 'is_exporting', None)
    if exporting is not None and exporting():
        return True
    if is_compiling():
        return False
    if torch._C._len_torch_dispatch_stack() > 0 or forward_ad._current_level >= 0:
        return True
    return torch._C._functorch.peek_interpreter_stack() is not None


def hook_dicts(module: nn.Module) -> tuple[dict, ...]:
    """The hook dicts of ``module``, which are never replaced during its lifetime."""
    return (
        *(module._forward_hooks, module._forward_pre_hooks),
        *(module._backward_hooks, module._backward_pre_hooks),
    )


def is_watched(module: nn.Module) -> bool:
    """True if ``module`` has hooks or its own ``forward``."""
    return any(hook_dicts(module)) or 'forward' in module.__dict__


def all_modules_are_watched() -> bool:
    """True if a global hook, on the calls of every module, is registered."""
    return bool(
        nn_module._global_forward_hooks
        or nn_module._global_forward_pre_hooks
        or nn_module._global_backward_hooks
        or nn_module._global_backward_pre_hooks
    )


PLAIN = (Tensor, nn.Parameter)


def is_plain(tensor: Tensor) -> bool:
    """A dense tensor of torch itself, not a subclass (fake, distributed, quantised, ...)."""
    return type(tensor) in PLAIN and tensor.layout is torch.strided
