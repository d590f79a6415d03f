"""Configs of MMSegmentation where that is not installed: read as always, refused in one line."""

import pytest
import torch

from selnext_mm.__main__ import main
from selnext_mm.config import scopes
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves
from selnext_mm.engine.preflight.values import check_types
from selnext_mm.errors import UserError
from tests.mmseg import FOLDERS

LEAVES = [leaf for leaf in config_leaves() if leaf.startswith(FOLDERS)]
REMEDY = r"pip install 'selnext_mm\[mmseg\]' \(or: pip install mmsegmentation==1\.2\.2 ftfy regex\)"


@pytest.fixture
def without_mmseg(monkeypatch):
    found = scopes.find_spec
    monkeypatch.setattr(scopes, 'find_spec', lambda n: None if n == 'mmseg' else found(n))


def test_there_are_such_configs():
    assert len(LEAVES) >= 6


@pytest.mark.parametrize('leaf', LEAVES)
def test_a_config_is_read_without_it_and_names_the_line_that_installs_it(leaf, without_mmseg):
    cfg = load_config(leaf)
    assert cfg.default_scope == 'mmseg'
    assert cfg.model.backbone.type == 'SELNeXt'
    assert cfg.custom_imports.imports == ['selnext_mm']
    for build in (build_model, check_types):
        with pytest.raises(UserError, match=REMEDY):
            build(cfg)


def test_commands_say_so_in_one_line(without_mmseg, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = tmp_path / 'ade'
    for kind in ('images', 'annotations'):
        for split in ('training', 'validation'):
            (data / kind / split).mkdir(parents=True)
    torch.save(dict(state_dict={}), data / 'w.pth')
    for words in (
        ['complexity', LEAVES[0]],
        ['train', 'upernet/selnext_t_ade20k.py'],
        ['test', 'upernet/selnext_t_ade20k.py', str(data / 'w.pth')],
        ['check-data', 'upernet/selnext_t_ade20k.py', '--data-root', str(data)],
    ):
        assert main(words) == 2
        error = capsys.readouterr().err
        assert 'needs MMSegmentation, which is not installed: pip install' in error, words
        assert len(error.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == [data]


def test_other_configs_do_not_ask_for_it(without_mmseg):
    check_types(load_config('mask_rcnn/selnext_atto_shapes.py'))
