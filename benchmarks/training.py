#!/usr/bin/env python3
"""Time a training step, forward and backward pass, and count what it keeps in memory between.

    python benchmarks/training.py --suite training
    python benchmarks/training.py ConvNeXt-T SELNeXt-T cls/patnet_s_in1k.py --batch 8
    python benchmarks/training.py --suite training --device cuda --precision bf16

Models and options are those of benchmarks/latency.py. The step has no optimiser. "saved" are the
bytes that the forward pass keeps for the backward pass, every storage once and without the
parameters and buffers, counted with torch's saved-tensor hooks; what a function keeps outside of
them is not seen. "peak" (GPU) is the most memory in a step, the parameters, their gradients and
the images included.
"""

import sys
from collections.abc import Callable, Iterable

import torch
from _models import Candidate, Setting, UnavailableError, autocast, reshape, start, tensors
from _rows import Row
from _session import base_parser, execute
from torch import Tensor

from selnext_mm.__main__ import call


def saved_bytes(forward: Callable[[], object], excluded: Iterable[Tensor]) -> int:
    """Bytes of the storages that ``forward`` saves for its backward pass, each counted once.

    Storages of ``excluded`` do not count. The graph is kept until the end, so that no address is
    used twice.
    """
    known = {tensor.untyped_storage().data_ptr() for tensor in excluded}
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = forward()
    total = sum(saved.values())
    del out
    return total


def make_training(row: Row, setting: Setting) -> Candidate:
    """Build ``row`` for training; ``call()`` is one forward and backward pass.

    The loss is the mean square of all outputs.

    Raises:
        UnavailableError: if it cannot be run here, or is a deployed model.
        UserError: if it does not run at this size.
    """
    if 'deploy' in row.variants:
        raise UnavailableError('a deployed model is not trained')
    plain, x, _ = start(row, setting)
    plain.train()
    model, x = reshape(row, setting, plain, x)

    def forward() -> Tensor:
        with autocast(setting):
            return sum(t.float().square().mean() for t in tensors(model(x)))

    def step() -> None:
        plain.zero_grad(set_to_none=True)
        forward().backward()

    facts = {'saved_bytes': saved_bytes(forward, [*plain.parameters(), *plain.buffers()])}
    if setting.device.type == 'cuda':
        step()
        plain.zero_grad(set_to_none=True)
        others = torch.cuda.memory_allocated() - sum(
            t.untyped_storage().nbytes() for t in (*plain.parameters(), *plain.buffers(), x)
        )
        torch.cuda.reset_peak_memory_stats()
        step()
        facts['peak_bytes'] = torch.cuda.max_memory_allocated() - others
    plain.zero_grad(set_to_none=True)
    params = sum(p.numel() for p in plain.parameters())
    return Candidate(row, step, params, tuple(x.shape[-2:]), None, facts)


def main(argv: list[str] | None = None) -> int:
    args = base_parser('benchmarks/training.py', __doc__).parse_args(argv)
    return execute(args, 'Training step', make_training)


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
