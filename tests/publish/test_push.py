"""A published folder sent to a stand-in for the Hub, and every way in which that can fail."""

import re
import socket
import sys

import pytest
import torch

from selnext_mm.cli.publish import main
from selnext_mm.errors import UserError
from selnext_mm.inference.loading import load_for_inference
from selnext_mm.publish.push import check_push, push
from tests.publish.test_publish import SCORES, as_run

CARD = '---\nlicense: mit\n---\n\n# A model\n'
FILES = ('README.md', 'model.safetensors')


@pytest.fixture
def login(hub, monkeypatch):
    """The stand-in, with a user "me" who is logged in."""
    hub.uploads.writers['hf_me'] = {'me'}
    monkeypatch.setenv('HF_TOKEN', 'hf_me')
    return hub


@pytest.fixture
def folder(tmp_path):
    """A published folder, as small as one can be, with a file that is none of ours."""
    result = tmp_path / 'model'
    result.mkdir()
    (result / 'README.md').write_text(CARD)
    (result / 'model.safetensors').write_bytes(b'weights' * 1000)
    (result / 'notes.txt').write_text('private')
    return result


def test_a_run_is_sent_and_read_back(login, tmp_path, detector, capsys):
    run = as_run(tmp_path / 'cells', detector, SCORES)
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'notes.txt').write_text('private')
    assert main([str(run), '--to', str(out), '--push', 'me/cells', '--licence', 'mit']) == 0
    printed = capsys.readouterr().out
    assert re.search(r'\nsent: http://127\.0\.0\.1:\d+/me/cells/commit/1{40}\n', printed)
    assert 'hf upload' not in printed
    names = ['README.md', 'config.json', 'config.py', 'model.safetensors']
    assert login.uploads.commits == [[*names, 'preprocessor_config.json']]
    assert login.uploads.private == {'me/cells': False}
    for (repo, revision, name), content in login.files.items():
        assert (repo, revision) == ('me/cells', 'main')
        assert (out / name).read_bytes() == content
    assert 'hf://me/cells' in (out / 'README.md').read_text()

    again = load_for_inference(out / 'config.py', 'hf://me/cells', 'cpu', deployed=False)
    state = again.model.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in detector.model.state_dict().items())


def test_a_second_upload_is_a_second_commit(login, folder):
    push(folder, 'me/net', FILES)
    (folder / 'model.safetensors').write_bytes(b'other' * 1000)
    push(folder, 'me/net', FILES)
    assert login.uploads.commits == [list(FILES)] * 2
    assert login.files['me/net', 'main', 'model.safetensors'] == b'other' * 1000


def test_private_is_private(login, folder):
    push(folder, 'me/net', FILES, private=True)
    push(folder, 'me/net', FILES, private=True)  # one that is private already
    assert login.uploads.private == {'me/net': True}
    assert len(login.uploads.commits) == 2


def test_nothing_private_is_sent_to_a_public_repository(login, folder):
    login.uploads.private['me/net'] = False
    with pytest.raises(UserError, match='--private: me/net exists and is public; nothing was sent'):
        push(folder, 'me/net', FILES, private=True)
    assert login.uploads.commits == []
    assert login.files == {}


@pytest.mark.parametrize(
    ('repo', 'token', 'words'),
    [
        ('me/net', 'hf_old', r'the Hub does not recognise the token .*hf auth login'),
        ('you/net', 'hf_me', r"may not write there .*needs write access to 'you'"),
    ],
)
def test_what_the_hub_refuses(login, folder, monkeypatch, repo, token, words):
    monkeypatch.setenv('HF_TOKEN', token)
    with pytest.raises(UserError) as caught:
        push(folder, repo, FILES)
    message = str(caught.value)
    assert re.search(words, message)
    assert message.endswith(f'. {folder} is complete; later: hf upload {repo} {folder}')
    assert '\n' not in message
    assert login.uploads.commits == []


def test_a_repository_of_others_that_is_there(login, folder):
    """The library goes on when it may not create what exists; the first file is refused."""
    login.uploads.private['you/net'] = False
    with pytest.raises(UserError, match="needs write access to 'you'"):
        push(folder, 'you/net', FILES)


def test_a_transfer_that_breaks_off(login, folder):
    login.uploads.fail_at = '/commit/'
    with pytest.raises(UserError, match=r'me/net: the Hub refused it \(.*Internal Error'):
        push(folder, 'me/net', FILES)
    assert login.files == {}
    login.uploads.fail_at = None
    push(folder, 'me/net', FILES)
    assert len(login.files) == 2


def test_a_card_that_the_hub_does_not_read(login, folder):
    (folder / 'README.md').write_text('# A model without a head\n')
    with pytest.raises(UserError, match=r'me/net was not sent: Invalid metadata in README.md'):
        push(folder, 'me/net', FILES)


def test_no_network(login, folder, monkeypatch):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        address = f'http://127.0.0.1:{free.getsockname()[1]}'
        monkeypatch.setenv('HF_ENDPOINT', address)
        with pytest.raises(UserError, match=f'me/net: {address} cannot be reached'):
            push(folder, 'me/net', FILES)


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (['--push', 'name'], '--push name; expected OWNER/REPO'),
        (['--push', 'me/a--b'], '--push me/a--b: Cannot have -- or ..'),
        (['--push', 'me/a', '--repo', 'me/b'], '--repo me/b and --push me/a differ'),
        (['--private'], '--private needs --push'),
    ],
)
def test_mistakes_are_told_before_anything_is_written(login, tmp_path, words, message):
    with pytest.raises(UserError, match=re.escape(message)):
        main([str(tmp_path), '--to', str(tmp_path / 'out'), *words])
    assert not (tmp_path / 'out').exists()
    assert login.requests == []


def test_without_a_token(hub):
    with pytest.raises(UserError, match=r'--push me/net needs a token .*hf auth login.*HF_TOKEN'):
        check_push('me/net')


def test_offline(login, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(UserError, match='HF_HUB_OFFLINE is set'):
        check_push('me/net')


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(UserError, match=r'--push me/net needs .*pip install huggingface_hub'):
        check_push('me/net')
