"""A deployed SELNeXt that computes in bfloat16, with maps in float32."""

import copy
import pickle

import pytest
import torch

from selnext_mm.models.backbones import SELNeXt
from selnext_mm.ops.capabilities import has_fused_linear
from selnext_mm.ops.seln_block.cpu_forward import spatial_sums
from tests.models.backbones.test_selnext import oracle
from tests.models.backbones.test_selnext_fast import build, errors, fused, twin  # noqa: F401

needs_bfloat16 = pytest.mark.skipif(
    not has_fused_linear(torch.bfloat16), reason='needs oneDNN with bfloat16 on the CPU'
)


@needs_bfloat16
def test_its_error_is_no_larger_than_that_of_the_layers_in_bfloat16(fused):  # noqa: F811
    model = build().eval()
    x = torch.randn(2, 3, 70, 96)
    exact = oracle(copy.deepcopy(model).double(), x.double())
    layers = twin(model, impl='reference')
    with torch.no_grad():
        ours = model.switch_to_deploy(dtype=torch.bfloat16)(x)
        assert len(fused) == 5
        theirs = layers.switch_to_deploy(dtype=torch.bfloat16)(x)
    assert len(fused) == 5
    assert {out.dtype for out in (*ours, *theirs)} == {torch.float32}
    for a, b in zip(errors(ours, exact), errors(theirs, exact), strict=True):
        assert 1e-4 < a <= 1.05 * b < 0.1


def test_it_needs_half_of_the_memory_and_stays_that_way():
    model = SELNeXt('atto', out_indices=(0, 1, 2, 3))
    before = sum(p.nbytes for p in model.parameters())
    model.switch_to_deploy(dtype=torch.bfloat16)
    assert sum(p.nbytes for p in model.parameters()) == before // 2
    x = torch.randn(1, 3, 64, 64)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        for a, b in zip(other(x), model(x), strict=True):
            assert torch.equal(a, b)
    with pytest.raises(RuntimeError, match='cannot be trained'):
        model.train()


def test_a_second_dtype_takes_the_place_of_the_first():
    model = build().switch_to_deploy(dtype=torch.bfloat16)
    model.switch_to_deploy(dtype=torch.float32)
    x = torch.randn(1, 3, 64, 64)
    exact = oracle(copy.deepcopy(model).double(), x.double())
    with torch.no_grad():
        assert max(errors(model(x), exact)) < 1e-5


def test_integers_are_refused():
    with pytest.raises(ValueError, match=r'dtype=torch.int8.*use torch.bfloat16'):
        build().switch_to_deploy(dtype=torch.int8)


@pytest.mark.parametrize('positions', [1, 31, 32, 49, 196, 1000])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_sums_over_positions(positions, dtype):
    u = torch.rand(3, positions, 5).to(dtype)
    sums, exact = spatial_sums(u), u.double().sum(1)
    assert sums.dtype == torch.float32
    assert sums.shape == (3, 5)
    tolerance = {torch.float32: 1e-6, torch.bfloat16: 2**-8}[dtype]
    torch.testing.assert_close(sums.double(), exact, rtol=tolerance, atol=0)
