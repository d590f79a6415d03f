"""Weights from the Hub, served by a stand-in on this machine."""

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader
from safetensors.torch import save

from selnext_mm.checkpoints.files import load_file, read_metadata
from selnext_mm.checkpoints.hub import fetch, is_hub_address, parse_address
from selnext_mm.engine.preflight.weights import read_checkpoint
from selnext_mm.errors import UserError
from selnext_mm.models import SELNeXt

ARCH = dict(depths=[1], channels=[16])


def weights(value: float) -> bytes:
    return save({'a': torch.full((300, 300), value)}, metadata={'classes': 'cell'})


@pytest.mark.parametrize(
    ('source', 'parts'),
    [
        ('hf://me/net', ('me/net', None, 'model.safetensors')),
        ('hf://me/net@v1.0', ('me/net', 'v1.0', 'model.safetensors')),
        ('hf://me/net@refs%2Fpr%2F1', ('me/net', 'refs/pr/1', 'model.safetensors')),
        ('hf://me/net/b.safetensors', ('me/net', None, 'b.safetensors')),
        ('hf://m-e/n_e.t@3f2a/x/b.safetensors', ('m-e/n_e.t', '3f2a', 'x/b.safetensors')),
        (Path('hf://me/net'), ('me/net', None, 'model.safetensors')),
    ],
)
def test_addresses(source, parts):
    assert is_hub_address(source)
    assert parse_address(source) == parts


@pytest.mark.parametrize(
    ('source', 'words'),
    [
        ('hf://net', 'is not an address of the Hub; expected hf://OWNER/REPO'),
        ('hf://me/net@', 'is not an address'),
        ('hf://me/net/model.bin', r'only .safetensors are read, because other files can run code'),
        ('hf://me/net/pytorch_model.pth', 'only .safetensors are read'),
        ('hf://me/net@refs/pr/1', 'write its / as %2F: hf://me/net@refs%2Fpr%2F1'),
    ],
)
def test_other_addresses_are_refused_before_anything_is_fetched(source, words):
    with pytest.raises(UserError, match=words):
        load_file(source)


def test_every_reader_takes_an_address(hub):
    hub.add('me/net', weights(1.0))
    hub.add('me/net', weights(2.0), revision='v2')
    for read in (load_file, read_checkpoint, CheckpointLoader.load_checkpoint):
        assert read('hf://me/net')['a'][0, 0] == 1
        assert read('hf://me/net@v2')['a'][0, 0] == 2
    assert read_metadata('hf://me/net') == {'classes': 'cell'}


def test_every_reader_takes_a_folder_as_the_hub_has_them(tmp_path):
    (tmp_path / 'model.safetensors').write_bytes(weights(3.0))
    for read in (load_file, read_checkpoint, CheckpointLoader.load_checkpoint):
        assert read(str(tmp_path))['a'][0, 0] == 3
    assert read_metadata(tmp_path) == {'classes': 'cell'}
    (tmp_path / 'model.safetensors').rename(tmp_path / 'other.safetensors')
    with pytest.raises(UserError, match=r'folder|directory'):
        load_file(tmp_path)


def test_a_second_call_and_a_call_without_a_network_use_the_cache(hub, monkeypatch):
    from huggingface_hub import constants

    hub.add('me/net', weights(1.0))
    path = fetch('hf://me/net')
    assert fetch('hf://me/net') == path
    assert sum(method == 'GET' for method, _, _ in hub.requests) == 1
    hub.requests.clear()
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    assert fetch('hf://me/net') == path
    assert hub.requests == []
    with pytest.raises(UserError, match='not in the cache, and the Hub cannot be reached'):
        fetch('hf://me/other')


def test_pretrained_weights_of_a_backbone(hub):
    source = SELNeXt(ARCH)
    state = {f'backbone.{k}': v for k, v in source.state_dict().items()}
    hub.add('me/net', save(state))
    init = dict(type='Pretrained', checkpoint='hf://me/net', prefix='backbone.')
    model = SELNeXt(ARCH, init_cfg=init)
    total = len(state)
    assert f'loaded {total} of {total} tensors from hf://me/net' in model.load_pretrained()
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in model.state_dict().items())


def test_a_damaged_copy_is_removed_and_fetched_anew(hub):
    hub.add('me/net', weights(1.0))
    blob = fetch('hf://me/net').resolve()
    content = blob.read_bytes()
    blob.write_bytes(content[:-1] + b'\x07')
    with pytest.raises(UserError, match=r'damaged .* was removed; run the command again'):
        fetch('hf://me/net')
    assert hashlib.sha256(fetch('hf://me/net').read_bytes()).hexdigest() == blob.name


def test_a_broken_transfer_is_gone_on_with(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'DOWNLOAD_CHUNK_SIZE', 50_000)  # else all of it is one chunk
    content = weights(3.0)
    hub.add('me/net', content)
    hub.cut.append(200_000)
    try:
        path = fetch('hf://me/net')
    except UserError:
        path = fetch('hf://me/net')
    assert path.read_bytes() == content
    assert [asked for method, _, asked in hub.requests if method == 'GET'] == [
        None,
        'bytes=200000-',
    ]


@pytest.mark.parametrize(
    ('source', 'words'),
    [
        ('hf://me/nothing', 'there is no repository me/nothing, or it is private'),
        ('hf://me/net@v9', "me/net has no revision 'v9'"),
        ('hf://me/net/b.safetensors', 'me/net has no file b.safetensors; name one of its'),
    ],
)
def test_what_is_not_there_is_told(hub, source, words):
    hub.add('me/net', weights(1.0))
    with pytest.raises(UserError, match=words):
        fetch(source)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(UserError, match='pip install huggingface_hub'):
        fetch('hf://me/net')
