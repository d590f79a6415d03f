"""Files that are no checkpoints, damaged or made to harm, are recognised before they are read."""

import io
import os
import pickle
import resource
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selnext_mm.checkpoints.files import load_file, save_file
from selnext_mm.errors import UserError

FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
STATE = {'a': torch.arange(6.0).reshape(2, 3), 'b': torch.ones(4)}


def saved(state=STATE):
    buffer = io.BytesIO()
    torch.save({'state_dict': state}, buffer)
    return buffer.getvalue()


def archive(entries, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return buffer.getvalue()


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def script():
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), buffer)
    return buffer.getvalue()


def bomb():
    """A whole checkpoint beside 300 MB of zeros that take 1 MB."""
    buffer = io.BytesIO(saved())
    with zipfile.ZipFile(buffer, 'a', zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for i in range(30):
            file.writestr(f'archive/data/{i + 9}', bytes(10_000_000))
    return buffer.getvalue()


def claims_more_than_it_has():
    """The pickle says that a tensor has a million elements; its record holds four."""
    huge, small = saved({'b': torch.ones(1_000_000)}), saved({'b': torch.ones(4)})
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(huge)) as a,
        zipfile.ZipFile(io.BytesIO(small)) as b,
        zipfile.ZipFile(out, 'w') as file,
    ):
        for entry in b.infolist():
            source = a if entry.filename.endswith('data.pkl') else b
            file.writestr(entry.filename, source.read(entry.filename))
    return out.getvalue()


CASES = {
    'git lfs pointer': (lambda: b'version https://git-lfs.github.com/spec/v1\noid x', 'git lfs'),
    'html page': (lambda: b'\n<!DOCTYPE html><title>Sign in</title>', 'HTML'),
    'json': (lambda: b'{"a": 1}', 'JSON'),
    'hdf5': (lambda: b'\x89HDF\r\n\x1a\n' + bytes(90), 'HDF5'),
    'gguf': (lambda: b'GGUF' + bytes(90), 'GGUF'),
    'gzip': (lambda: b'\x1f\x8b\x08\x00' + bytes(90), 'unpack'),
    'numpy': (lambda: b'\x93NUMPY\x01\x00', 'numpy array'),
    'jpeg': (lambda: b'\xff\xd8\xff\xe0' + bytes(90), 'image'),
    'zeros': (lambda: bytes(5000), 'begins with zeros'),
    'npz': (npz, r'not written by torch\.save: it has a\.npy'),
    'zip of text': (lambda: archive({'readme.txt': b'hello'}), 'has readme.txt'),
    'torchscript': (script, 'TorchScript'),
    'zip bomb': (bomb, 'unpacks to 300'),
    'missing records': (lambda: archive({'x/data.pkl': b'\x80\x02}.'}), 'not a checkpoint|version'),
    'fewer bytes than claimed': (claims_more_than_it_has, 'truncated|not a checkpoint'),
    'no end': (lambda: saved()[:-30], 'truncated'),
    'only the end': (lambda: saved()[60:], 'not a checkpoint|truncated'),
    'a number': (lambda: pickle.dumps(3, protocol=2), 'truncated|not a checkpoint|int'),
}


@pytest.mark.parametrize('name', CASES)
def test_what_is_no_checkpoint_is_one_message(name, tmp_path):
    make, words = CASES[name]
    path = tmp_path / 'file.pth'
    path.write_bytes(make())
    with pytest.raises(UserError, match=words) as caught:
        load_file(path)
    assert str(path) in str(caught.value)
    assert '\n' not in str(caught.value)


def test_the_bomb_is_refused_without_unpacking_it(tmp_path):
    path = tmp_path / 'bomb.pth'
    path.write_bytes(bomb())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match='was refused'):
        load_file(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_checkpoint_that_was_packed_again_is_read(tmp_path):
    """Some servers compress what they store; that is no bomb."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved())) as source,
        zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as file,
    ):
        for entry in source.infolist():
            file.writestr(entry.filename, source.read(entry.filename))
    (tmp_path / 'a.pth').write_bytes(out.getvalue())
    assert torch.equal(load_file(tmp_path / 'a.pth')['state_dict']['a'], STATE['a'])


def test_zeros_in_the_weights_are_no_bomb(tmp_path):
    save_file({'a': torch.zeros(5_000_000)}, tmp_path / 'a.pth', {})
    assert load_file(tmp_path / 'a.pth')['state_dict']['a'].numel() == 5_000_000


@pytest.mark.parametrize(('wrong', 'right'), [('a.pth', '.safetensors'), ('a.safetensors', '.pth')])
def test_the_other_suffix_is_the_remedy(tmp_path, wrong, right):
    save_file(STATE, tmp_path / f'b{right}', {})
    os.rename(tmp_path / f'b{right}', tmp_path / wrong)
    with pytest.raises(UserError, match='rename'):
        load_file(tmp_path / wrong)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'pipe.pth')
    with pytest.raises(UserError, match='not a regular file'):
        load_file(tmp_path / 'pipe.pth')


@FUZZ
@given(data=st.binary(max_size=200), suffix=st.sampled_from(['.pth', '.safetensors']))
def test_random_bytes_are_a_message(tmp_path_factory, data, suffix):
    path = tmp_path_factory.mktemp('bytes') / f'a{suffix}'
    path.write_bytes(data)
    with pytest.raises(UserError):
        load_file(path)


@FUZZ
@given(places=st.lists(st.floats(0, 0.999), min_size=1, max_size=4), cut=st.floats(0, 1))
def test_a_damaged_checkpoint_is_read_or_is_a_message(tmp_path_factory, places, cut):
    data = bytearray(saved())
    for place in places:
        data[int(len(data) * place)] ^= 0x55
    if cut < 0.5:
        data = data[: int(len(data) * (0.5 + cut))]
    path = tmp_path_factory.mktemp('damaged') / 'a.pth'
    path.write_bytes(data)
    try:
        assert isinstance(load_file(path), dict)
    except UserError as error:
        assert '\n' not in str(error)  # noqa: PT017 - either outcome is fine


def test_a_header_as_long_as_the_first_letters_of_a_page(tmp_path):
    """Its length, 0x3C20 bytes, is " <" in the file; a page begins with spaces and <, too."""
    path = tmp_path / 'a.safetensors'
    note = 15_000
    for _ in range(2):
        save_file(STATE, path, {'note': 'x' * note})
        note += 0x3C20 - int.from_bytes(path.read_bytes()[:8], 'little')
    assert path.read_bytes()[:2] == b' <'
    assert load_file(path)['b'].tolist() == [1, 1, 1, 1]
