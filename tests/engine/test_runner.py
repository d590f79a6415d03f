"""What a runner does before it trains."""

import pytest
from mmengine.config import Config

from selnext_mm.engine import ConciseRunner
from tests.engine.toy import ToyModel


@pytest.mark.parametrize('named_by', ['experiment_name', 'file', 'nothing'])
def test_two_runs_of_one_second_do_not_share_their_scalars(named_by, tmp_path):
    path = tmp_path / 'twice.py'
    path.write_text('')
    cfg = Config.fromfile(path) if named_by == 'file' else Config({})
    name = 'twice' if named_by == 'experiment_name' else None
    runs = [
        ConciseRunner(
            ToyModel(),
            str(tmp_path),
            cfg=cfg,
            experiment_name=name,
            default_scope='mmengine',
            log_level='WARNING',
        )
        for _ in range(2)
    ]
    runs[0].message_hub.update_scalar('train/loss', 1.0)
    assert 'train/loss' not in runs[1].message_hub.log_scalars
    assert len({run.experiment_name for run in runs}) == 2
    assert len({run.log_dir for run in runs}) == 2
