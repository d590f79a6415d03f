"""Reading refuses what is not plain weights; writing is whole or not at all."""

import argparse
import collections
import datetime
import os
import pathlib
import pickle
import re
import zipfile

import numpy as np
import pytest
import torch

from selnext_mm.checkpoints.files import load_file, read_metadata, save_file, take_weights
from selnext_mm.compat import allow_checkpoint_types
from selnext_mm.errors import UserError


class Hostile:
    """Unpickling this creates a file."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (open, (str(self.target), 'w'))


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    return {'a.weight': torch.randn(3, 4, generator=generator), 'a.bias': torch.arange(3)}


def write_pickle(path, payload, kind):
    if kind == 'zip':
        torch.save(payload, path)
    elif kind == 'before torch 1.6':
        torch.save(payload, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(payload))


@pytest.mark.parametrize('kind', ['zip', 'before torch 1.6', 'bare pickle'])
def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path, kind):
    planted, path = tmp_path / 'planted', tmp_path / 'hostile.pth'
    write_pickle(path, {'model': Hostile(planted)}, kind)
    with pytest.raises(UserError, match=r'refused.*would run code'):
        load_file(path)
    assert not planted.exists()


def test_the_hostile_pickle_is_live(tmp_path):
    planted, path = tmp_path / 'planted', tmp_path / 'hostile.pth'
    write_pickle(path, {'model': Hostile(planted)}, 'zip')
    torch.load(path, weights_only=False)
    assert planted.exists()


def test_a_whole_pickled_module_is_refused_by_name(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'module.pth')
    with pytest.raises(UserError, match=r'refused.*torch\.nn\.modules\.linear\.Linear'):
        load_file(tmp_path / 'module.pth')


def test_no_unrestricted_load_is_ever_tried(tmp_path, monkeypatch):
    calls = []
    original = torch.load

    def spy(*args, **kwargs):
        calls.append(kwargs.get('weights_only'))
        return original(*args, **kwargs)

    monkeypatch.setattr(torch, 'load', spy)
    torch.save({'model': Hostile(tmp_path / 'planted')}, tmp_path / 'hostile.pth')
    with pytest.raises(UserError):
        load_file(tmp_path / 'hostile.pth')
    assert calls == [True]


def test_training_options_of_the_official_script_are_read(tmp_path, state):
    path = tmp_path / 'official.pth'
    torch.save({'model': state, 'epoch': 3, 'args': argparse.Namespace(lr=1e-3)}, path)
    assert load_file(path)['args'].lr == 1e-3


EXTRAS = {
    'path': argparse.Namespace(output_dir=pathlib.PurePosixPath('/x')),
    'default': collections.defaultdict(list, a=[1]),
    'number by default': collections.defaultdict(int, a=1),
    'date': datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc),
    'duration': datetime.timedelta(seconds=3),
    'counter': collections.Counter('aab'),
    'slice': slice(1),
    'set': {1, 2},
    'complex': complex(1, 2),
    'device': torch.device('cpu'),
    'dtype': torch.float16,
    'numpy number': np.float64(0.5),
    'numpy text': np.str_('x'),
    'small integers': np.zeros(2, 'u2'),
    'texts': np.array(['a']),
    'objects': np.array([None, 1], object),
}


@pytest.mark.parametrize('name', EXTRAS)
def test_plain_data_beside_the_weights_is_read(tmp_path, state, name):
    torch.save({'state_dict': state, 'args': EXTRAS[name]}, tmp_path / 'file.pth')
    found = load_file(tmp_path / 'file.pth')['args']
    assert isinstance(EXTRAS[name], type(found))  # a defaultdict comes back as a dict
    assert np.all(found == EXTRAS[name])


def test_reading_leaves_what_was_allowed_before(tmp_path, state):
    """mmengine's loader needs it: a checkpoint's message hub holds numpy arrays."""
    torch.save({'state_dict': state, 'args': np.zeros(2)}, tmp_path / 'file.pth')
    allow_checkpoint_types()
    before = torch.serialization.get_safe_globals()
    load_file(tmp_path / 'file.pth')
    assert set(torch.serialization.get_safe_globals()) == set(before)
    torch.load(tmp_path / 'file.pth', weights_only=True)


@pytest.mark.parametrize('module', ['pathlib', 'pathlib._local'])
@pytest.mark.parametrize('name', ['PosixPath', 'WindowsPath'])
def test_a_path_of_any_system_is_read_as_a_pure_one(tmp_path, state, name, module):
    torch.save(
        {'state_dict': state, 'args': pathlib.PurePosixPath('data', 'coco')}, tmp_path / 'mine.pth'
    )
    with (
        zipfile.ZipFile(tmp_path / 'mine.pth') as mine,
        zipfile.ZipFile(tmp_path / 'theirs.pth', 'w') as theirs,
    ):
        for part in mine.namelist():
            content = mine.read(part)
            if part.endswith('data.pkl'):
                (own,) = set(re.findall(rb'cpathlib[._a-z]*\nPurePosixPath\n', content))
                content = content.replace(own, f'c{module}\n{name}\n'.encode())
            theirs.writestr(part, content)
    found = load_file(tmp_path / 'theirs.pth')['args']
    assert isinstance(found, pathlib.PurePath)
    assert found.parts == ('data', 'coco')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize(
    'content', [b'', b'hello world', b'<html>404</html>', b'\x80', b'PK\x03\x04']
)
def test_what_is_no_checkpoint_is_said_so(tmp_path, suffix, content):
    path = tmp_path / f'file{suffix}'
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r'empty|not a checkpoint|not a safetensors|refused|truncated|rename'
    ) as caught:
        load_file(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_said_so(tmp_path, state, suffix, share):
    path = save_file(state, tmp_path / f'whole{suffix}', {})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match='truncated'):
        load_file(path)


def test_missing_paths_directories_and_lists_are_said_so(tmp_path):
    with pytest.raises(UserError, match='no such file'):
        load_file(tmp_path / 'none.pth')
    with pytest.raises(UserError, match='is a directory'):
        load_file(tmp_path)
    torch.save([torch.zeros(1)], tmp_path / 'list.pth')
    with pytest.raises(UserError, match='contains a list'):
        load_file(tmp_path / 'list.pth')


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_round_trip_is_exact(tmp_path, state, suffix):
    path = save_file(state, tmp_path / 'new' / f'out{suffix}', {'source': 'test'})
    loaded = load_file(path)
    weights, _ = take_weights(loaded)
    assert set(weights) == set(state)
    for key, value in state.items():
        assert torch.equal(weights[key], value)
        assert weights[key].dtype == value.dtype
    assert os.listdir(path.parent) == [path.name]


def test_metadata_is_kept(tmp_path, state):
    safe_open = pytest.importorskip('safetensors').safe_open
    save_file(state, tmp_path / 'out.pth', {'depth': 3})
    assert load_file(tmp_path / 'out.pth')['meta'] == {'depth': '3'}
    save_file(state, tmp_path / 'out.safetensors', {'depth': 3})
    with safe_open(tmp_path / 'out.safetensors', 'pt') as file:
        assert file.metadata() == {'depth': '3'}


def test_the_same_tensors_and_metadata_make_the_same_bytes(tmp_path, state):
    # The library writes a header of three texts in one of six orders, by chance.
    meta = dict(format='pt', classes='["ä", "b"]', producer='x')
    paths = [save_file(state, tmp_path / f'{i}.safetensors', meta) for i in range(12)]
    assert len({path.read_bytes() for path in paths}) == 1
    assert read_metadata(paths[0]) == meta
    again = load_file(paths[0])
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], value) for key, value in state.items())


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_view_is_stored_alone_and_shared_memory_is_allowed(tmp_path, suffix):
    big = torch.zeros(1000, 1000)
    path = save_file({'a': big[:2, :2], 'b': big[:2, :2]}, tmp_path / f'out{suffix}', {})
    assert path.stat().st_size < 10_000


@pytest.mark.parametrize('name', ['out', 'out.pt', 'out.pth.tar', 'out.onnx'])
def test_unknown_suffixes_are_refused(tmp_path, state, name):
    with pytest.raises(UserError, match=r'unknown suffix .* choose from \.pth, \.safetensors'):
        save_file(state, tmp_path / name, {})
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, state, suffix, monkeypatch):
    path = save_file(state, tmp_path / f'out{suffix}', {})
    before = path.read_bytes()

    def full(_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(UserError, match='could not be written: the disk is full'):
        save_file({'a.weight': torch.ones(1)}, path, {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


def test_a_file_in_place_of_the_folder_is_said_so(tmp_path, state):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='could not be written'):
        save_file(state, tmp_path / 'file' / 'out.pth', {})


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_others_may_read_what_the_umask_allows(tmp_path, state, suffix):
    umask = os.umask(0o022)
    try:
        path = save_file(state, tmp_path / f'out{suffix}', {})
    finally:
        os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o644


def test_weights_are_found_where_projects_put_them(state):
    ema = {k: v + 1 for k, v in state.items()}
    for checkpoint, key in (
        ({'model': state, 'epoch': 1}, "'model'"),
        ({'state_dict': state, 'meta': {}}, "'state_dict'"),
        ({'model_ema': state}, "'model_ema'"),
        (state, 'bare state dict'),
    ):
        weights, note = take_weights(checkpoint)
        assert weights == state
        assert key in note

    both = {'model': state, 'model_ema': ema}
    weights, note = take_weights(both)
    assert weights == state
    assert '--weights ema' in note
    assert take_weights(both, 'model_ema')[0] == ema


def test_missing_weights_are_said_so(state):
    with pytest.raises(UserError, match=r"--weights model_ema: .* no 'model_ema', only model"):
        take_weights({'model': state}, 'model_ema')
    with pytest.raises(UserError, match='contains epoch, optimizer'):
        take_weights({'epoch': 1, 'optimizer': {}})
    with pytest.raises(UserError, match='contains nothing'):
        take_weights({})


def test_metadata_of_a_damaged_file(tmp_path, state):
    path = save_file(state, tmp_path / 'a.safetensors', dict(format='pt'))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r'a\.safetensors is truncated'):
        read_metadata(path)
