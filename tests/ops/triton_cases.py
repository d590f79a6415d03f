"""Run the Triton kernels in Triton's interpreter; print the relative errors as JSON.

A program of its own, because the interpreter has to be chosen before triton is imported.
"""

import copy
import json
import os
import sys

os.environ['TRITON_INTERPRET'] = '1'

import torch

from selnext_mm.models.backbones import SELNeXt
from selnext_mm.ops import seln_block_choice, seln_block_triton
from selnext_mm.ops.seln_block_triton import kernel_weights, triton_block, triton_depthwise
from tests.models.backbones.test_selnext import oracle as state_oracle
from tests.ops.test_seln_block import error, oracle, weights


def backbone() -> dict[str, float]:
    """Errors of a whole SELNeXt that computes its blocks with the kernels, deployed and not."""
    model = SELNeXt(
        dict(depths=(1, 1, 1), channels=(16, 24, 40)), out_indices=(0, 1, 2), impl='fused'
    )
    for parameter in model.parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 4
        torch.nn.init.normal_(parameter, std=fan**-0.5)
    x = torch.randn(2, 3, 32, 48)
    exact = state_oracle(copy.deepcopy(model).double(), x.double())
    calls = []
    real = seln_block_triton.triton_block
    seln_block_triton.triton_block = lambda *args, **kw: (calls.append(1), real(*args, **kw))[1]
    seln_block_choice.has_fused_linear = lambda dtype: False  # as on a device without oneDNN
    results = {}
    with torch.no_grad():
        for name in ('backbone', 'backbone deployed', 'backbone deployed, second call'):
            calls.clear()
            outs = model.eval()(x)
            results[name] = max(error(a, b) for a, b in zip(outs, exact, strict=True))
            assert len(calls) >= 3, calls
            if not model.deployed:
                model.switch_to_deploy()
        calls.clear()
        with torch.autocast('cpu', dtype=torch.float16):
            outs = model(x)
        assert len(calls) >= 3, calls
        results['backbone float16'] = max(error(a, b) for a, b in zip(outs, exact, strict=True))
    return results


def main() -> None:
    torch.manual_seed(0)
    results = {}
    for channels, size, batch in (
        *((16, (9, 7), 2), (24, (5, 17), 1), (40, (1, 1), 3)),
        *((72, (3, 5), 1), (264, (2, 3), 1)),  # several tiles of channels
    ):
        w, x = weights(channels), torch.randn(batch, channels, *size)
        name = f'{channels}-{size[0]}x{size[1]}-{batch}'
        y = torch.conv2d(
            x.double(), w.dw_weight.double(), w.dw_bias.double(), padding=3, groups=channels
        )
        channels_last = x.contiguous(memory_format=torch.channels_last)
        results[f'depthwise {name}'] = error(
            triton_depthwise(channels_last, kernel_weights(w, torch.float32)), y
        )
        for recompute in (False, True):
            out = triton_block(x, kernel_weights(w, torch.float32), 1e-5, recompute)
            results[f'recompute={recompute} {name}'] = error(out, oracle(x, w))
    results.update(backbone())
    json.dump(results, sys.stdout)


if __name__ == '__main__':
    main()
