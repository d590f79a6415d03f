"""What the train command says before the first iteration, of a run that is not started."""

import logging
from types import SimpleNamespace

import pytest

from selnext_mm.checkpoints.integrity import write_checkpoint
from selnext_mm.cli import train
from selnext_mm.engine import session

CFG = 'mask_rcnn/selnext_atto_shapes.py'


@pytest.fixture
def said(monkeypatch, tmp_path, shapes_root):
    """Run the command on a config with ``options``; the warnings of the run."""
    monkeypatch.chdir(tmp_path)

    def run(*options):
        lines = []
        logger = SimpleNamespace(info=lambda line: None, warning=lines.append)
        hub = SimpleNamespace(get_info=lambda name: None)
        runner = SimpleNamespace(logger=logger, world_size=1, train=lambda: None, message_hub=hub)
        monkeypatch.setattr(session, 'build_runner', lambda cfg: runner)
        assert train.main([CFG, '--data-root', str(shapes_root), *options]) == 0
        return lines

    return run


def test_random_weights_that_are_frozen_are_told_once(said):
    assert said() == []
    (line,) = said('--cfg-options', 'model.backbone.frozen_stages=1')
    assert 'SELNeXt starts from random weights' in line
    assert line.endswith('--cfg-options model.backbone.frozen_stages=0')


def test_a_run_over_an_earlier_one_is_told(said, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    content = dict(meta=dict(epoch=2, iter=5), state_dict={}, optimizer={})
    path = write_checkpoint(content, folder / 'epoch_2.pth')
    (line,) = said('--work-dir', str(folder))
    assert 'an earlier run (1, the last epoch_2.pth)' in line
    assert '--resume' in line
    assert path.is_file()


def test_the_checks_leave_nothing_behind(said, tmp_path):
    said()
    assert logging.root.manager.disable == 0
    assert not list(tmp_path.iterdir())
