"""Every case of the table ends with one message, an exit code, and nothing left behind."""

import logging
import sys

import pytest
import torch

from selnext_mm.__main__ import main
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from tests.messages.bad_input import CFG, REMEDIES, TABLE, Room


@pytest.fixture(scope='session')
def sound_checkpoint(tmp_path_factory):
    """What a run of the small config stores, with its initial weights."""
    cfg = load_config(CFG)
    path = tmp_path_factory.mktemp('sound') / 'epoch_1.pth'
    meta = dict(epoch=1, iter=8, dataset_meta=dict(classes=cfg.metainfo.classes))
    torch.save(dict(state_dict=build_model(cfg).state_dict(), meta=meta, optimizer={}), path)
    return path


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*'))


def test_the_table_is_as_long_as_promised():
    assert len(TABLE) >= 100
    assert REMEDIES.keys() <= TABLE.keys()


@pytest.mark.parametrize('name', TABLE)
def test_bad_input_ends_with_one_message(
    name, tmp_path, tmp_path_factory, monkeypatch, capfd, shapes_root, sound_checkpoint
):
    case = TABLE[name]
    monkeypatch.chdir(tmp_path)
    if name.startswith('labels: '):
        pytest.importorskip('defusedxml', reason='pip install -r requirements/formats.txt runs it')
    if name.startswith('served: '):
        for package in ('fastapi', 'uvicorn', 'prometheus_client'):
            pytest.importorskip(package, reason="needs pip install 'selnext_mm[serve]'")
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path_factory.mktemp('cache')))
    # Loggers of earlier runs in this process keep streams that pytest has closed.
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    for key in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'):
        # Set first: what the command itself puts there goes with the test.
        monkeypatch.setenv(key, 'x')
        monkeypatch.delenv(key)
    for key, value in case.env:
        monkeypatch.setenv(key, value)
    if case.prepare:
        case.prepare(Room(tmp_path, shapes_root, sound_checkpoint))
    before = files(tmp_path)
    stands_for = {'DATA': str(shapes_root), 'CKPT': str(sound_checkpoint)}
    try:
        code = main([stands_for.get(word, word) for word in case.line.split()])
    except SystemExit as stop:  # argparse
        code = stop.code
    out, err = capfd.readouterr()
    sys.stderr.write(err[-2000:])
    assert code not in (0, None), out[-2000:]
    assert 'Traceback' not in out + err
    messages = [line for line in err.splitlines() if 'error: ' in line]
    assert len(messages) == 1
    for words in (*case.words, REMEDIES.get(name, '')):
        assert stands_for.get(words, words) in messages[0]
    assert not (tmp_path / 'planted').exists(), 'the code of a hostile file was run'
    assert files(tmp_path) == before, 'something was left behind'
