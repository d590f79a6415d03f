"""Run the GPU's kernels in Triton's interpreter; print the relative errors as JSON.

A program of its own, because the interpreter has to be chosen before triton is imported. The
interpreter cannot multiply bfloat16, so that the products of that dtype are left to torch here.
"""

import copy
import json
import os
import sys
from contextlib import contextmanager

os.environ['TRITON_INTERPRET'] = '1'

import torch
from torch import Tensor

from selnext_mm.models.backbones import SELNeXt
from selnext_mm.ops import channel_norm as norms
from selnext_mm.ops.packed import PackedOnce
from selnext_mm.ops.seln_block import dispatch, gpu_choice, gpu_forward, gpu_operator
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
        nodes = []

        def backend(graph, _):
            nodes.append([str(node.target) for node in graph.graph.nodes])
            return graph.forward

        outs = torch.compile(model, backend=backend, fullgraph=True)(x)
        ((),) = [[n for n in nodes[0] if 'gelu' in n]]  # no block in its layers
        assert sum('seln_block_gpu' in node for node in nodes[0]) == 2, nodes
        results['backbone compiled'] = max(error(a, b) for a, b in zip(outs, exact, strict=True))
        calls.clear()
        with torch.autocast('cpu', dtype=torch.float16):
            outs = model(x)
        assert len(calls) == 2, calls
        results['float16 backbone'] = max(error(a, b) for a, b in zip(outs, exact, strict=True))
    return results


def choice() -> dict[str, float]:
    """The trial, also where the caller has set another default device; where kernels run."""
    with torch.device('meta'):
        assert gpu_choice.gpu_block_works('cpu', torch.float32, 8, False)
    entered, real = [], gpu_operator.on_device

    @contextmanager
    def on_device(x):
        entered.append(True)
        yield
        entered.append(False)

    def prepare(*args):
        assert entered[-1:] == [True], 'prepared on whatever device is the current one'
        return real_prepare(*args)

    gpu_operator.on_device, real_prepare = on_device, gpu_operator.prepare_weights
    gpu_operator.prepare_weights, packed = prepare, PackedOnce()
    w, x = weights(8), torch.randn(1, 8, 4, 4)
    for slot in (None, packed.number):
        gpu_operator.gpu_inference(x, w, 1e-5, None, torch.float32, slot)
    gpu_operator.on_device, gpu_operator.prepare_weights = real, real_prepare
    return {}


def with_gaps() -> dict[str, float]:
    """Slices of channels and crops, and a gradient that is one: their memory is not dense."""
    w = weights(32, requires_grad=True)
    wide = torch.randn(2, 64, 6, 6).to(memory_format=torch.channels_last)
    crop = wide[:, :32].clone(memory_format=torch.channels_last)[:, :, :4, 1:5]
    results = {}
    for name, x in (('slice', wide[:, :32]), ('crop', crop)):
        out_grad = torch.randn(2, 64, *x.shape[2:]).to(memory_format=torch.channels_last)[:, 32:]
        exact, gradients = both_passes(oracle, x, w, out_grad)
        out, got = both_passes(block, x, w, out_grad)
        results[f'{name} out'] = error(out, exact)
        pairs = zip(got, gradients, strict=True)
        results[f'{name} gradients'] = max(error(a, b) for a, b in pairs)
    return results


def backward_under_autocast() -> dict[str, float]:
    w, x = weights(8, requires_grad=True), torch.randn(2, 8, 4, 4)
    out_grad = torch.randn_like(x)
    _, wanted = both_passes(oracle, x, w, out_grad)
    out = block(x, w)
    with torch.autocast('cpu', dtype=torch.float16):
        found = torch.autograd.grad(out, w, out_grad)
    return {'autocast': max(error(a, b) for a, b in zip(found, wanted[1:], strict=True))}


def one_step(model, ways: str, x: Tensor) -> list[Tensor]:
    """Gradients of a training step that does all of ``ways``."""
    scaler = torch.amp.GradScaler('cpu', init_scale=256.0, enabled='scaler' in ways)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    parts = x.chunk(2) if 'accumulated' in ways else [x]
    for part in parts:
        with torch.autocast('cpu', dtype=torch.float16, enabled='scaler' in ways):
            loss = sum(out.float().sin().mean() for out in model(part)) / len(parts)
        scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    return [p.grad for p in model.parameters() if p.requires_grad]


def training() -> dict[str, float]:
    """A backbone with its kernels and with its layers, as training uses them."""
    arch, x = dict(depths=(1, 1), channels=(16, 24)), torch.randn(4, 3, 16, 24)
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group('gloo', store=store, rank=0, world_size=1)
    results, real, calls = {}, gpu_operator.gpu_training, []
    gpu_operator.gpu_training = lambda *args: (calls.append(1), real(*args))[1]
    dispatch.has_fused_linear = lambda dtype: False  # as on a device without oneDNN
    for ways in ('', 'accumulated', 'frozen', 'checkpointed', 'distributed', 'scaler'):
        options = dict(frozen_stages=int(ways == 'frozen'), with_cp=ways == 'checkpointed')
        models = {impl: SELNeXt(arch, out_indices=(0, 1), impl=impl, **options)
                  for impl in ('reference', 'fused')}  # fmt: skip
        for parameter in models['fused'].parameters():
            fan = parameter[0].numel() if parameter.ndim > 1 else 4
            torch.nn.init.normal_(parameter, std=fan**-0.5)
        models['reference'].load_state_dict(models['fused'].state_dict())
        found = {}
        for impl, model in models.items():
            calls.clear()
            model.train()
            if ways == 'distributed':
                model = torch.nn.parallel.DistributedDataParallel(model)
            found[impl] = one_step(model, ways, x)
            # Of a frozen stage's block no gradient is needed; checkpointing computes layers.
            expected = dict(frozen=1, checkpointed=0, accumulated=4).get(ways, 2)
            assert len(calls) == (expected if impl == 'fused' else 0), (ways, impl, calls)
        pairs = zip(found['fused'], found['reference'], strict=True)
        results[f'training {ways}'] = max(error(a, b) for a, b in pairs)
    torch.distributed.destroy_process_group()
    gpu_operator.gpu_training = real
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
    parts = (
        choice,
        blocks,
        inference,
        with_gaps,
        backward_under_autocast,
        norm,
        operators,
        backbone,
    )
    json.dump({k: v for part in (*parts, training) for k, v in part().items()}, sys.stdout)


if __name__ == '__main__':
    main()
