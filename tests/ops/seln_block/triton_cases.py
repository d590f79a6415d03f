"""Run the GPU's kernels in Triton's interpreter; print the relative errors as JSON.

A program of its own, because the interpreter has to be chosen before triton is imported. The
interpreter cannot multiply bfloat16, so that the products of that dtype are left to torch here.
"""

import copy
import json
import os
import sys

os.environ['TRITON_INTERPRET'] = '1'

import torch

from selnext_mm.models.backbones import SELNeXt
from selnext_mm.ops import channel_norm as norms
from selnext_mm.ops.seln_block import dispatch, gpu_forward, gpu_operator
from selnext_mm.ops.seln_block.equations import BlockWeights
from tests.models.backbones.test_selnext import oracle as state_oracle
from tests.ops.seln_block.test_block import NAMES, both_passes, error, oracle, weights

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def block(x, w, branch_scale=None, dtype=torch.float32):
    return gpu_operator.GpuBlock.apply(x, 1e-5, branch_scale, dtype, *w)


# Channels, size, images: the gate in the map and in W2, several tiles, one position.
CASES = (
    (8, (5, 4), 3, DTYPES),
    (12, (2, 17), 1, ('float32',)),
    (40, (1, 1), 2, ('float32',)),
    (72, (2, 2), 2, DTYPES),
)


def blocks() -> dict[str, float]:
    """Outputs and all gradients, with dropped branches where there are three images."""
    results = {}
    for channels, size, batch, dtypes in CASES:
        w, x = weights(channels), torch.randn(batch, channels, *size)
        out_grad = torch.randn_like(x)
        branch_scale = torch.tensor([0.0, 2.0, 2.0]) if batch == 3 else None
        exact, gradients = both_passes(oracle, x, w, out_grad, branch_scale)
        for name in dtypes:
            expanded = gpu_forward.MAX_EXPANDED_CHANNELS
            if name == 'bfloat16':
                gpu_forward.MAX_EXPANDED_CHANNELS = 0
            out, got = both_passes(block, x, w, out_grad, branch_scale, DTYPES[name])
            gpu_forward.MAX_EXPANDED_CHANNELS = expanded
            key = f'{name} {channels}-{size[0]}x{size[1]}-{batch}'
            results[f'{key} out'] = error(out, exact)
            for part, a, b in zip(('x', *NAMES), got, gradients, strict=True):
                results[f'{key} {part}'] = error(a, b) if b.any() else float(a.abs().max())
    return results


def inference() -> dict[str, float]:
    """Without a gradient, with weights prepared once, and with weights in half precision."""
    results = {}
    w, x = weights(24), torch.randn(1, 24, 7, 9)
    exact = oracle(x, w)
    low = BlockWeights(*(t.half() for t in w))
    with torch.no_grad():
        results['no gradient'] = error(
            gpu_operator.gpu_inference(x, w, 1e-5, None, torch.float32), exact
        )
        out = gpu_operator.gpu_inference(x.half(), low, 1e-5, None, torch.float16)
        assert out.dtype == torch.float16
        exact = oracle(x.half(), low)
        results['float16 weights'] = error(out, exact)
        views = torch.randn(24 * 63 + 1)[1:].view(1, 24, 7, 9)  # an address that is not aligned
        results['not aligned'] = error(
            gpu_operator.gpu_inference(views, w, 1e-5, None, torch.float32), oracle(views, w)
        )
    return results


def operators() -> dict[str, float]:
    """As operators of torch: their contract, and compiled without a break in the graph."""
    w, x = weights(8, requires_grad=True), torch.randn(2, 8, 4, 5)
    plain = [t.detach() for t in w]
    checks = ('test_schema', 'test_faketensor')
    ops = torch.ops.selnext_mm
    for scale, dtype in ((None, torch.float32), (torch.tensor([0.0, 2.0]), torch.float16)):
        args = (x, plain, 1e-5, scale, dtype)
        torch.library.opcheck(ops.seln_block_gpu.default, (*args, None), test_utils=checks)
        torch.library.opcheck(ops.seln_block_gpu_training.default, args, test_utils=checks)
        out, *saved = ops.seln_block_gpu_training(*args)
        backward = (out, x, saved, plain, 1e-5, scale, dtype)
        torch.library.opcheck(ops.seln_block_gpu_backward.default, backward, test_utils=checks)
    dispatch.has_fused_linear = lambda dtype: False  # as on a device without oneDNN
    dispatch.gpu_block_works = lambda *_: True
    dispatch.gpu_block_works._dynamo_marked_constant = True
    compiled = torch.compile(
        lambda x, w: dispatch.seln_block(x, w, allow_untimed=True),
        backend='aot_eager',
        fullgraph=True,
        dynamic=None,  # sizes vary from the second call on, parameters do not
    )
    results = {}
    for size in ((4, 5), (3, 3)):
        x, out_grad = torch.randn(2, 8, *size), torch.randn(2, 8, *size)
        exact, gradients = both_passes(oracle, x, w, out_grad)
        out, got = both_passes(compiled, x, w, out_grad)
        results[f'compiled {size}'] = error(out, exact)
        pairs = zip(got, gradients, strict=True)
        results[f'compiled gradients {size}'] = max(error(a, b) for a, b in pairs)
        with torch.no_grad():
            results[f'compiled, no gradient {size}'] = error(compiled(x, w), exact)
    return results


def backbone() -> dict[str, float]:
    """Errors of a whole SELNeXt that computes its blocks with the kernels, deployed and not."""
    model = SELNeXt(dict(depths=(1, 1), channels=(16, 24)), out_indices=(0, 1), impl='fused')
    for parameter in model.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 4
        torch.nn.init.normal_(parameter, std=fan**-0.5)
    x = torch.randn(2, 3, 16, 24)
    exact = state_oracle(copy.deepcopy(model).double(), x.double())
    calls = []
    real = gpu_operator.gpu_inference
    gpu_operator.gpu_inference = lambda *args: (calls.append(1), real(*args))[1]
    dispatch.has_fused_linear = lambda dtype: False  # as on a device without oneDNN
    dispatch.gpu_block_works = lambda *_: True  # what it would try is tried above
    results = {}
    with torch.no_grad():
        for name in ('backbone', 'backbone deployed', 'backbone deployed, second call'):
            calls.clear()
            outs = model.eval()(x)
            results[name] = max(error(a, b) for a, b in zip(outs, exact, strict=True))
            assert len(calls) == 2, calls
            if not model.deployed:
                model.switch_to_deploy()
        calls.clear()
        with torch.autocast('cpu', dtype=torch.float16):
            outs = model(x)
        assert len(calls) == 2, calls
        results['float16 backbone'] = max(error(a, b) for a, b in zip(outs, exact, strict=True))
    return results


def norm() -> dict[str, float]:
    """The norm of the downsampling layers, whole and in patches, with its gradients."""
    results = {}
    for name, dtype in DTYPES.items():
        for patch in (1, 2):
            for shape in ((2, 24, 5, 7), (3, 16, 2, 2)):
                x = torch.randn(shape).to(dtype).float()
                leaves = [x, torch.randn(shape[1]), torch.randn(shape[1])]
                exact = [t.double().requires_grad_() for t in leaves]
                out = norms.channel_norm_reference(*exact, 1e-6, patch)
                grad = torch.randn(out.shape).to(dtype)
                wanted = torch.autograd.grad(out, exact, grad.double())
                ours = [t.requires_grad_() for t in (x.to(dtype), *leaves[1:])]
                got = norms.channel_norm(*ours, 1e-6, dtype, patch)
                found = torch.autograd.grad(got, ours, grad)
                pairs = zip((got, *found), (out, *wanted), strict=True)
                errors = max(error(a.detach(), b.detach()) for a, b in pairs)
                results[f'{name} norm {patch} {shape}'] = errors
    return results


def main() -> None:
    torch.manual_seed(0)
    json.dump({**blocks(), **inference(), **norm(), **operators(), **backbone()}, sys.stdout)


if __name__ == '__main__':
    main()
