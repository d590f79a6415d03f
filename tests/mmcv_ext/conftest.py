"""Our operators in the place of those that ``mmcv.ops`` has loaded."""

import sys

import pytest

from tests.mmcv_ext import calls


@pytest.fixture(scope='session')
def ours():
    return calls.ours()


@pytest.fixture
def ops(ours, monkeypatch):
    """``mmcv.ops``, calling our operators."""
    import mmcv.ops

    replaced = 0
    for name, module in list(sys.modules.items()):
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module'):
            monkeypatch.setattr(module, 'ext_module', ours)
            replaced += 1
    assert replaced > 40
    return mmcv.ops
