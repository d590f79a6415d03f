"""Bytes and operations of a block against those counted by hand."""

import importlib.util

import pytest
import torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec('triton') is None,
    reason='needs triton, which comes with torch for CUDA; on a CPU: pip install triton',
)


@pytest.mark.parametrize(('channels', 'side'), [(96, 56), (384, 14), (768, 7)])
@pytest.mark.parametrize('training', [False, True])
def test_products_of_a_block(channels, side, training):
    """Two products forward; backward two for each of them, and the first one again."""
    from _launches import block_launches
    from traffic import _flops

    images = 2
    forward, backward = block_launches(
        channels, (side, side), images, torch.bfloat16, training, branch_scale=training
    )
    one = 2 * images * side**2 * channels * 4 * channels
    assert sum(map(_flops, forward)) == 2 * one
    assert sum(map(_flops, backward)) in ((4 * one, 5 * one) if training else (0,))


def test_a_launch_reads_and_writes_each_tensor_once():
    from _launches import Launch
    from traffic import Cost, cost

    a, b = (torch.empty(4, 8, device='meta') for _ in range(2))
    out = torch.empty(4, 4, device='meta')
    launch = Launch('mm', (), {'args': (a, b.t()), 'result': out}, {})
    assert cost(launch) == Cost(4 * (32 + 32 + 16), 2 * 4 * 8 * 4)


def test_the_table(capsys):
    import traffic

    assert traffic.main(['--batch', '2', '--precision', 'fp32']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 2 * 5
    assert lines[-1].startswith('| training step, all blocks')
