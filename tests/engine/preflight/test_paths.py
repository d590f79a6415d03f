"""Data that are not where a config says: what to do depends on who named the place."""

import shutil

import pytest

from selnext_mm.__main__ import main
from selnext_mm.config.load import load_config, set_data_root
from selnext_mm.engine.preflight.paths import check_paths
from selnext_mm.errors import UserError
from selnext_mm.recipes.options import Options
from selnext_mm.recipes.resolve import write_config
from selnext_mm.recipes.run import plan
from tests.datasets.formats.writers import describe, write_coco2017

LOADERS = ('train_dataloader', 'val_dataloader')


@pytest.fixture
def labels(tmp_path, monkeypatch):
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.chdir(tmp_path)
    objects = [[('cat', 1, 1, 20, 20), ('dog', 30, 1, 20, 20)] for _ in range(10)]
    return write_coco2017(describe({'train': objects}), tmp_path / 'boxes')


def of_a_run(labels, folder):
    options = Options(seed=3, image_size=64)
    cfg, lines, info = plan(labels, 'selnext_atto', options, val=0.3, say=lambda line: None)
    return load_config(write_config(cfg, lines, folder, 'test')), info.cache


def test_labels_that_are_gone_from_the_cache_are_written_again(labels, tmp_path, capsys):
    """The bug: the message asked for --data-root, which had been given and changes nothing."""
    cfg, cache = of_a_run(labels, tmp_path / 'run')
    shutil.rmtree(cache)
    set_data_root(cfg, labels)
    with pytest.raises(UserError, match=rf'{cache}, which is gone; .*check-data DIR') as error:
        check_paths(cfg, LOADERS)
    assert '--format, --val and --seed' in str(error.value)
    line = ['check-data', str(labels), '--val', '0.3', '--seed', '3', '--no-duplicates']
    assert main(line) == 0, capsys.readouterr()
    check_paths(cfg, LOADERS)


def test_images_that_were_moved_are_named_in_the_config_alone(labels, tmp_path):
    cfg, _ = of_a_run(labels, tmp_path / 'run')
    labels.rename(tmp_path / 'moved')
    set_data_root(cfg, tmp_path / 'moved')
    with pytest.raises(UserError, match=r'boxes/train2017 .*--data-root moves no absolute paths'):
        check_paths(cfg, LOADERS)
