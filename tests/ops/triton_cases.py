"""Run the Triton kernels in Triton's interpreter; print the relative errors as JSON.

A program of its own, because the interpreter has to be chosen before triton is imported.
"""

import json
import os
import sys

os.environ['TRITON_INTERPRET'] = '1'

import torch

from selnext_mm.ops.seln_block_triton import triton_block, triton_depthwise
from tests.ops.test_seln_block import error, oracle, weights


def main() -> None:
    torch.manual_seed(0)
    results = {}
    for channels, size, batch in ((16, (9, 7), 2), (24, (5, 17), 1), (40, (1, 1), 3)):
        w, x = weights(channels), torch.randn(batch, channels, *size)
        name = f'{channels}-{size[0]}x{size[1]}-{batch}'
        y = torch.conv2d(
            x.double(), w.dw_weight.double(), w.dw_bias.double(), padding=3, groups=channels
        )
        channels_last = x.contiguous(memory_format=torch.channels_last)
        results[f'depthwise {name}'] = error(triton_depthwise(channels_last, w), y)
        for recompute in (False, True):
            out = triton_block(x, w, 1e-5, recompute)
            results[f'recompute={recompute} {name}'] = error(out, oracle(x, w))
    json.dump(results, sys.stdout)


if __name__ == '__main__':
    main()
