"""The work-arounds for mmengine's configs do their job here and are inert elsewhere."""

import copy
import threading
from importlib.util import find_spec

import pytest
import torch
from mmengine.config import Config
from mmengine.config import config as module
from mmengine.registry import DefaultScope
from mmengine.runner import FlexibleRunner, Runner
from mmengine.utils import ManagerMixin

from selnext_mm import compat_config
from selnext_mm.config.load import load_config
from selnext_mm.config_files import find_config


def test_external_bases_are_found_without_the_metafiles_of_their_package(monkeypatch):
    pytest.importorskip('mmdet', reason='the config inherits from mmdet; install mmdet to run this')
    from mmengine.config import utils

    read = []
    load = utils.load
    monkeypatch.setattr(utils, 'load', lambda path: read.append(path) or load(path))
    cfg = Config.fromfile(find_config('retinanet/r50_2x_coco.py'))
    assert cfg.model.type == 'RetinaNet'
    assert read == []
    # A name that a metafile lists goes by the metafile.
    text = "_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'"
    assert Config.fromstring(text, '.py').model.type == 'RetinaNet'
    assert read


def test_a_package_that_is_missing_is_still_named():
    if find_spec('mmocr'):
        pytest.skip('mmocr is installed; take a package of mmengine that is not')
    with pytest.raises(ModuleNotFoundError, match='mmocr is not installed'):
        Config.fromstring("_base_ = 'mmocr::_base_/x.py'", '.py')


@pytest.fixture
def calls(monkeypatch):
    """Texts that reach the formatter; the wrapper around it is new."""
    seen = []
    real = module.FormatCode.__wrapped__

    def format_code(text, **options):
        seen.append(text)
        return real(text, **options)

    monkeypatch.setattr(module, 'FormatCode', format_code)
    compat_config.format_texts_once()
    return seen


def test_an_equal_config_is_formatted_once(calls, monkeypatch):
    cfg = load_config('cls/cifar10/selnext_atto_cifar10.py')
    first = cfg.pretty_text
    assert cfg.pretty_text == load_config(cfg.filename).pretty_text == first
    assert len(calls) == 1
    cfg.work_dir = 'elsewhere'
    assert "work_dir = 'elsewhere'" in cfg.pretty_text
    assert len(calls) == 2
    monkeypatch.setattr(module, 'FormatCode', module.FormatCode.__wrapped__)
    assert load_config(cfg.filename).pretty_text == first, 'the text is what mmengine alone writes'


def test_a_text_that_cannot_be_formatted_is_still_an_error(calls):
    cfg = Config(dict(a=object()))
    for _ in range(2):
        with pytest.raises(SyntaxError, match='Failed to format'):
            _ = cfg.pretty_text
    assert len(calls) == 2


def test_formatting_is_wrapped_once():
    wrapped = module.FormatCode
    compat_config.format_texts_once()
    assert module.FormatCode is wrapped


def test_functions_of_an_inherited_loader_are_found_without_the_mark_of_their_package():
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=[torch.zeros(3), torch.ones(3)],
        sampler=torch.utils.data.SequentialSampler(range(2)),
        collate_fn=dict(type='default_collate', _scope_='selnext_mm'),
        worker_init_fn=dict(type='pseudo_collate', _scope_='selnext_mm'),  # never called
    )
    given = copy.deepcopy({key: loader[key] for key in ('collate_fn', 'worker_init_fn')})
    for runner in (Runner, FlexibleRunner):
        built = runner.build_dataloader(loader, seed=0)
        (batch,) = built
        assert batch.shape == (2, 3)
        assert built.worker_init_fn.keywords == {}
        assert {key: loader[key] for key in given} == given, 'the config stays as it is'
    with pytest.raises(TypeError, match='no_such'):
        list(
            Runner.build_dataloader(
                dict(loader, collate_fn=dict(type='default_collate', no_such=1))
            )
        )


def test_other_threads_go_on_after_an_instance_that_cannot_be_made():
    """mmengine kept the lock of all its global instances, and they waited for ever."""

    class Wrong(ManagerMixin):
        def __init__(self, name):
            raise ValueError('wrong')

    with pytest.raises(ValueError, match='wrong'):
        Wrong.get_instance('a')
    with pytest.raises(RuntimeError, match='get_instance'):
        Wrong.get_current_instance()
    with pytest.raises(AssertionError):
        DefaultScope.get_instance(1, scope_name='mmdet')
    found = []
    thread = threading.Thread(
        target=lambda: found.append(DefaultScope.get_instance('b', scope_name='mmdet')), daemon=True
    )
    thread.start()
    thread.join(20)
    assert found, 'the thread waits for the lock'
