"""What a block does on a GPU, found out without one: launches, compiled kernels, traffic."""

import importlib.util

import pytest
import torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None,
    reason='needs triton, which comes with torch for CUDA; on a CPU: pip install triton',
)
STAGES = ((96, 56), (192, 28), (384, 14), (768, 7))
# Shared memory of a program, in bytes, that a card allows.
CARDS = {80: 163 * 1024, 90: 227 * 1024, 100: 227 * 1024}
REGISTERS = 65536


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(('channels', 'side'), STAGES)
def test_a_training_step_of_a_block_launches_little(channels, side, dtype):
    from _launches import block_launches

    from selnext_mm.ops.seln_block.gpu_forward import one

    one(torch.device('meta'))  # made once per device
    forward, backward = block_launches(channels, (side, side), 64, dtype, True, branch_scale=True)
    names = [launch.name for launch in forward + backward]
    assert len(names) <= 25, names
    forward, backward = block_launches(channels, (side, side), 96, dtype, False)
    assert len(forward) <= 8, [launch.name for launch in forward]
    assert not backward


def test_what_is_counted_is_what_runs():
    """The layers of the block, counted in the same way: each is at least one launch."""
    from _launches import recorded

    x, layer = torch.randn(2, 8), torch.nn.Linear(8, 4)
    with recorded() as launches:
        torch.nn.functional.gelu(layer(x)).view(-1)
    assert [launch.name for launch in launches] == ['addmm', 'gelu']


def kernels(channels, side, dtype):
    """One launch of every kernel and signature of a block, forward and backward."""
    from _launches import block_launches, signature

    found = {}
    for training in (False, True):
        for launches in block_launches(
            channels, (side, side), 64, dtype, training, branch_scale=training, prepared=False
        ):
            for launch in launches:
                if not isinstance(launch.kernel, str):
                    key = launch.name, str(signature(launch)), str(launch.options)
                    found.setdefault(key, launch)
    return list(found.values())


@pytest.mark.parametrize('capability', CARDS)
@pytest.mark.parametrize(
    ('channels', 'side', 'dtype'),
    [
        *((96, 56, torch.bfloat16), (768, 7, torch.bfloat16), (384, 14, torch.float32)),
        *((96, 56, torch.float16), (768, 7, torch.float16)),
    ],
    ids=str,
)
def test_kernels_compile_for_cards_of_today(capability, channels, side, dtype):
    from _launches import compile_ahead

    for launch in kernels(channels, side, dtype):
        compiled = compile_ahead(launch, capability)
        assert 0 < compiled.registers <= 255, launch.name
        assert compiled.spilled == 0, launch.name
        assert compiled.shared <= CARDS[capability], launch.name
        assert compiled.registers * compiled.threads <= REGISTERS, launch.name


def test_every_kernel_is_compiled():
    from triton.runtime.jit import JITFunction

    from selnext_mm.ops import triton_norm
    from selnext_mm.ops.seln_block import (
        triton_depthwise,
        triton_gate,
        triton_gate_gradient,
        triton_maps,
        triton_weights,
    )

    modules = (triton_depthwise, triton_gate, triton_gate_gradient, triton_maps, triton_weights)
    there = {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, JITFunction) and name.endswith('_kernel')
    }
    seen = {k.name for c, s in STAGES for k in kernels(c, s, torch.bfloat16)}
    assert seen == there
    assert [n for n in vars(triton_norm) if n.endswith('_kernel')] == [
        'channel_norm_kernel',
        'channel_norm_gradient_kernel',
    ]


@pytest.mark.parametrize('capability', CARDS)
@pytest.mark.parametrize('patch', [1, 2])
def test_the_norm_compiles_too(capability, patch):
    from _launches import compile_ahead, recorded

    from selnext_mm.ops.channel_norm import channel_norm

    x = torch.empty(4, 96, 8, 8, device='meta', dtype=torch.bfloat16, requires_grad=True)
    weight = torch.empty(96, device='meta', requires_grad=True)
    with recorded() as launches:
        out = channel_norm(x, weight, weight, 1e-6, torch.bfloat16, patch)
        out.backward(torch.empty_like(out))
    ours = [launch for launch in launches if not isinstance(launch.kernel, str)]
    assert [launch.name for launch in ours] == [
        'channel_norm_kernel',
        'channel_norm_gradient_kernel',
    ]
    for launch in ours:
        compiled = compile_ahead(launch, capability)
        assert 0 < compiled.registers <= 255
        assert compiled.registers * compiled.threads <= REGISTERS
        assert compiled.spilled == 0
        assert compiled.shared <= CARDS[capability]
