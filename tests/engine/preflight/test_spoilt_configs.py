"""A config that is spoilt at one place is told in one message, or runs; never a traceback."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config

from selnext_mm import Session, UserError
from selnext_mm.config.load import merge_options
from tests.engine.both_runners import detection
from tests.engine.preflight.spoilt import VALUES, places, spoil

pytest.importorskip('mmdet')
FUZZ = settings(
    max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
SOUND = {k: v for k, v in detection('DATA').to_dict().items() if v is not None}
PLACES = sorted(places(SOUND), key=str)
WAYS = ('remove', 'misspell', 'twice', *range(len(VALUES)))


class ReachedError(Exception):
    """All is checked; the runner would be built."""


@pytest.fixture(scope='module')
def check(shapes_root, tmp_path_factory):
    """Check a nested dict as a training does: the message, or None if it would run."""
    folder = tmp_path_factory.mktemp('spoilt')

    def stop(*args):
        raise ReachedError

    def run(content, options=None):
        cfg = Config(content)
        try:
            Session(cfg, shapes_root, folder / 'work', options).train()
        except UserError as error:
            return str(error)
        except ReachedError:
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, '_build', stop)
        yield run


def test_the_sound_config_would_run(check):
    assert check(SOUND) is None


@FUZZ
@given(path=st.sampled_from(PLACES), how=st.sampled_from(WAYS))
def test_whatever_is_spoilt_is_one_message(check, path, how):
    message = check(spoil(SOUND, path, how))
    assert message is None or (message and '\n' not in message)


@FUZZ
@given(path=st.sampled_from(PLACES), value=st.sampled_from(VALUES))
def test_whatever_an_option_sets_is_one_message(path, value):
    key = '.'.join(map(str, path))
    try:
        merged = merge_options(Config(SOUND), {key: value})
    except UserError as error:
        message = str(error)
    else:
        message = None
    if message is not None:
        assert re.fullmatch('.+', message)
        return
    for part in path:
        merged = merged[part]
    # A dict is merged into what is there.
    assert isinstance(value, dict) or repr(merged) == repr(value)


@pytest.mark.parametrize(
    ('path', 'value', 'words'),
    [
        (('train_cfg',), True, r'train_cfg = True.*a dict'),
        (('test_dataloader',), 'x', r'test_dataloader = .x.*a dict'),
        (('val_dataloader', 'dataset', 'ann_file'), [1], r'ann_file = \[1\].*a path'),
        (('train_dataloader', 'dataset', 'data_prefix', 'img'), 1.5, r'data_prefix\.img = 1\.5'),
        (('train_dataloader', 'dataset', 'pipeline'), -1, r'pipeline = -1.*a list'),
        (('train_dataloader', 'sampler', 'type'), '', r'sampler\.type = .*name of a class'),
        (('test_dataloader', 'dataset', 'metainfo'), 1.5, r'metainfo = 1\.5.*a dict'),
        (('val_evaluator', 'metric'), -1, r'val_evaluator\.metric = -1.*a list of names'),
        (('val_evaluator', 'ann_file'), -1, r'val_evaluator\.ann_file = -1.*a path'),
        (('default_scope',), 0, r'default_scope = 0.*a name'),
        (('randomness',), 'x', r'randomness = .x.*a dict'),
        (('model',), 1.5, r'model = 1\.5.*a dict'),
    ],
)
def test_a_part_of_another_kind_is_named_with_what_is_expected(check, path, value, words):
    content = spoil(SOUND, path, 'remove')
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    message = check(content)
    assert re.search(words, message), message


@pytest.mark.parametrize(
    'path',
    [
        ('train_dataloader', 'dataset', 'pipeline', 0, 'type'),
        ('train_dataloader', 'sampler', 'type'),
        ('val_dataloader', 'dataset', 'type'),
        ('val_evaluator', 'type'),
    ],
)
def test_a_part_whose_type_is_misspelt_is_named(check, path):
    """Stock would end in a KeyError."""
    assert 'has no type' in check(spoil(SOUND, path, 'misspell'))


def test_a_config_without_a_model(check):
    assert 'it has no model' in check(spoil(SOUND, ('model',), 'misspell'))
