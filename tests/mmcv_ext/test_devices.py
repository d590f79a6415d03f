"""The operators keep to the device of their inputs, as they have to on a GPU."""

import pytest
import torch

from selnext_mm.mmcv_ext import torchvision_ops
from tests.mmcv_ext import calls, test_precisions
from tests.mmcv_ext.cases import FAMILIES
from tests.mmcv_ext.elsewhere import DEVICE, Elsewhere, other_device, there, values
from tests.mmcv_ext.test_parity import compare, stored
from tests.mmcv_ext.test_precisions import CASES, both_passes


@pytest.fixture
def device():
    """The other device, where torchvision's operators are tried anew."""
    torchvision_ops.works.cache_clear()
    with other_device():
        yield DEVICE
    torchvision_ops.works.cache_clear()


def moved(tensors):
    return [Elsewhere(t) if isinstance(t, torch.Tensor) else t for t in tensors]


def test_the_other_device_is_one(device):
    a = torch.tensor([1.0, 2.0], device=device)
    assert a.device.type == device
    assert (a * 2 + a.new_ones(2) - torch.tensor(1.0)).tolist() == [2.0, 4.0]
    a[torch.tensor([0])] += 1
    assert a.cpu().tolist() == [2.0, 2.0]
    assert not there(a.cpu())
    with pytest.raises(RuntimeError, match=r'aten.add.Tensor: a tensor \(2,\) is on the CPU'):
        a + torch.ones(2)


@pytest.mark.parametrize('family', FAMILIES)
def test_operators_give_the_stored_answers_on_another_device(device, family):
    ext = calls.ours()
    for case, call, tensors, settings in FAMILIES[family]():
        found = call(ext, *moved(tensors), **settings)
        # Groups are lists of numbers: the test has made tensors of them.
        assert all(there(value) for value in found.values()) or family == 'nms_match'
        found = {f'{case}/{name}': values(value).numpy() for name, value in found.items()}
        compare(family, case, found, stored(family))


@pytest.mark.parametrize('name', CASES)
def test_functions_of_mmcv_stay_on_another_device(device, ops, monkeypatch, name):
    call, tensors = test_precisions.case(name)
    wanted = both_passes(ops, call, tensors)
    for constant in ('SIZES', 'STARTS', 'TARGET', 'BOXES'):
        value = getattr(test_precisions, constant)
        monkeypatch.setattr(test_precisions, constant, Elsewhere(value))
    for a, b in zip(both_passes(ops, call, moved(tensors)), wanted, strict=True):
        assert there(a)
        torch.testing.assert_close(values(a), b)
