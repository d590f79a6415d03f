"""A pytest plugin for timm's own tests: they run over the models of ``--our-models`` alone.

It is loaded into a pytest of its own (``tests/timm/test_timms_own.py``), where ``tests`` is timm's
folder: nothing of this repository's tests can be imported here.
"""

import selnext_mm.timm  # before timm: it registers the models, and lets torchvision load

import timm  # isort: skip

# Where they are registered; timm's tests of intermediate features name the modules that have them.
MODULES = ('backbone_nets', 'attention_nets')


def pytest_addoption(parser):
    parser.addoption('--our-models', type=lambda text: text.split(','), default=[])


def pytest_configure(config):
    """Give timm's test module, which asks for the names as it is imported, ours only."""
    ours = config.getoption('--our-models')
    unknown = set(ours) - set(selnext_mm.timm.MODELS)
    assert not unknown, unknown
    list_models = timm.list_models

    def list_ours(*args, module='', **kwargs):
        modules = [*module, *MODULES] if isinstance(module, list) else module
        return [name for name in list_models(*args, module=modules, **kwargs) if name in ours]

    timm.list_models = list_ours


def pytest_collection_modifyitems(config, items):
    """Leave out the tests that are about models of timm by their names."""
    ours = config.getoption('--our-models')
    items[:] = [
        item
        for item in items
        if hasattr(item, 'callspec') and item.callspec.params.get('model_name') in ours
    ]
