"""What an older torch lacks."""

from types import SimpleNamespace

import pytest
import torch

from selnext_mm.mmcv_ext.numeric import exact
from selnext_mm.ops import capabilities
from selnext_mm.ops.capabilities import without_autocast

MPS = torch.device('mps')


@pytest.fixture
def refused(monkeypatch):
    """Names of the devices that autocast was called for; as torch < 2.5, it refuses MPS."""
    real, asked = torch.autocast, []

    def autocast(device_type, **kwargs):
        asked.append(device_type)
        if device_type == 'mps':
            raise RuntimeError("User specified an unsupported autocast device_type 'mps'")
        return real(device_type, **kwargs)

    monkeypatch.setattr(torch, 'autocast', autocast)
    return asked


@pytest.mark.parametrize('tell', [None, lambda device_type: False])
def test_where_mps_has_no_autocast_there_is_none_to_switch_off(refused, monkeypatch, tell):
    if tell is None:
        monkeypatch.delattr(torch.amp, 'is_autocast_available', raising=False)
    else:
        monkeypatch.setattr(torch.amp, 'is_autocast_available', tell, raising=False)
    with without_autocast(MPS.type), without_autocast('meta'):
        pass
    # Stands for a tensor on MPS, which this test does not have.
    assert exact(lambda first: first.value)(SimpleNamespace(device=MPS, value=3)) == 3
    assert refused == []


def test_autocast_is_switched_off_where_there_is_one(refused, monkeypatch):
    monkeypatch.setattr(torch.amp, 'is_autocast_available', lambda kind: True, raising=False)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert exact(lambda first: first @ first)(torch.ones(2, 2)).dtype == torch.float32
        with without_autocast('cpu'):
            assert not torch.is_autocast_enabled('cpu')
    assert refused == ['cpu'] * 3
    with pytest.raises(RuntimeError, match='unsupported'):
        without_autocast('mps')


def test_the_meta_device_has_no_autocast():
    assert capabilities.autocast_dtype('meta') is None
    with capabilities.without_autocast('meta'):
        pass
