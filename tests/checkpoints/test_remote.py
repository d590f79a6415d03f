"""Checkpoints from addresses run no code, as local ones."""

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from mmengine.runner import CheckpointLoader, load_checkpoint

from selnext_mm.checkpoints.remote import RestrictedTorch, load_url
from selnext_mm.errors import UserError
from tests.checkpoints.test_files import Hostile

STATE = {'weight': torch.arange(4.0).reshape(2, 2), 'bias': torch.ones(2)}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def site(tmp_path, monkeypatch):
    """(address of a local server, folder that it serves)."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    for name in ('http_proxy', 'HTTP_PROXY', 'all_proxy', 'ALL_PROXY'):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / 'site'
    folder.mkdir()
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}', folder
    server.shutdown()
    server.server_close()


def test_torch_hub_itself_would_run_the_code(site):
    """The reason for our own loader: stock mmengine calls this."""
    address, folder = site
    torch.save({'model': Hostile(folder / 'planted')}, folder / 'a.pth')
    torch.hub.load_state_dict_from_url(f'{address}/a.pth', progress=False)
    assert (folder / 'planted').exists()


def test_a_hostile_file_from_an_address_does_nothing(site):
    address, folder = site
    torch.save({'model': Hostile(folder / 'planted')}, folder / 'a.pth')
    with pytest.raises(UserError, match='was refused'):
        CheckpointLoader.load_checkpoint(f'{address}/a.pth', 'cpu', logger=None)
    assert not (folder / 'planted').exists()


def test_weights_from_an_address_are_loaded_and_kept(site):
    address, folder = site
    torch.save(STATE, folder / 'a.pth')
    model = torch.nn.Linear(2, 2)
    load_checkpoint(model, f'{address}/a.pth', strict=True)
    assert torch.equal(model.weight, STATE['weight'])
    (folder / 'a.pth').unlink()
    assert load_url(f'{address}/a.pth')['bias'].sum() == 2


def test_an_address_without_a_file_is_told_and_leaves_nothing(site, tmp_path):
    address, _ = site
    with pytest.raises(UserError, match=r'fetched \(HTTP Error 404.*\); without a network'):
        load_url(f'{address}/none.pth')
    assert not list((tmp_path / 'cache').rglob('*.pth*'))


def test_no_server_is_told(site):
    with pytest.raises(UserError, match='cannot be fetched'):
        load_url('http://127.0.0.1:9/none.pth')


def test_the_restricted_module_cannot_be_talked_into_more(tmp_path):
    torch.save({'model': Hostile(tmp_path / 'planted')}, tmp_path / 'a.pth')
    with pytest.raises(UserError, match='was refused'):
        RestrictedTorch().load(tmp_path / 'a.pth', weights_only=False)
    assert not (tmp_path / 'planted').exists()
    assert RestrictedTorch().float16 is torch.float16


def test_mmengine_uses_it():
    from mmengine.runner import checkpoint

    assert checkpoint.load_url is load_url
    assert isinstance(checkpoint.torch, RestrictedTorch)


@pytest.mark.parametrize(
    ('url', 'address'),
    [
        ('https://huggingface.co/me/net', 'hf://me/net'),
        ('https://hf.co/me/net/', 'hf://me/net'),
        ('https://huggingface.co/me/net/tree/v1.0', 'hf://me/net@v1.0'),
        ('https://huggingface.co/me/net/tree/main', 'hf://me/net@main'),
        (
            'https://huggingface.co/me/net/blob/main/x/a.safetensors',
            'hf://me/net@main/x/a.safetensors',
        ),
    ],
)
def test_a_page_of_the_hub_is_no_file(url, address):
    """Fetched as a file, the page was 'not a checkpoint', and it stayed in torch's folder."""
    with pytest.raises(UserError, match=f'{re.escape(url)} is a page of the Hub.*: {address}$'):
        load_url(url)
