"""``timm.create_model(..., device=..., dtype=...)``: where models are built, and in which dtype."""

import pytest
import timm
import torch
from torch.testing import assert_close

from tests.timm.models import SMALL

each_small = pytest.mark.parametrize('name', SMALL)


def tensors(model):
    return [*model.parameters(), *model.buffers()]


@each_small
@pytest.mark.parametrize('options', [{}, dict(features_only=True), dict(num_classes=0)])
def test_a_model_is_built_on_the_device_and_in_the_dtype_that_are_given(name, options):
    model = timm.create_model(name, device='meta', dtype=torch.bfloat16, **options)
    assert {t.device.type for t in tensors(model)} == {'meta'}
    assert {t.dtype for t in tensors(model) if t.is_floating_point()} == {torch.bfloat16}
    outputs = model.eval()(torch.empty(1, 3, 64, 64, device='meta', dtype=torch.bfloat16))
    for y in outputs if isinstance(outputs, list) else [outputs]:
        assert y.dtype == torch.bfloat16


def test_the_device_that_is_given_counts_more_than_the_one_around():
    with torch.device('meta'):
        model = timm.create_model('selnext_atto', device='cpu')
        other = timm.create_model('selnext_atto')
    assert {t.device.type for t in tensors(model)} == {'cpu'}
    assert {t.device.type for t in tensors(other)} == {'meta'}


def test_the_dtype_changes_the_precision_of_the_weights_only():
    models = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(3)
        models.append(timm.create_model('selnext_atto', dtype=dtype))
    for a, b in zip(*map(tensors, models), strict=True):
        assert b.dtype == torch.float64
        assert_close(a.double(), b, rtol=0, atol=0)
