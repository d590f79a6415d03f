"""Stock tools, which import nothing of ours by themselves, build and train what the leaves name."""

import re
import sys
from pathlib import Path

import pytest

from selnext_mm.config_files import config_leaves, config_root
from tests.integration.conftest import call
from tests.integration.test_plugin import stock_tool
from tests.mmseg import REASON, is_left_out
from tests.processes import finish


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """leaf -> None, or the error that mmengine's runner stopped with; one process for all."""
    script = Path(__file__).with_name('stock_build.py')
    paths = [config_root() / leaf for leaf in config_leaves() if not is_left_out(leaf)]
    work = tmp_path_factory.mktemp('work')
    command = [sys.executable, '-W', 'ignore', script, work, *paths]
    result = finish(command, cwd=work, env=dict(OMP_NUM_THREADS='1'), timeout=900)
    assert result.returncode == 0, result.stderr[-3000:]
    lines = re.findall(r'^(built|failed) (\S+) ?(.*)$', result.stdout, re.M)
    return {
        Path(path).relative_to(config_root()).as_posix(): error if how == 'failed' else None
        for how, path, error in lines
    }


@pytest.mark.slow
def test_the_stock_runner_builds_every_leaf(built):
    left_out = {leaf for leaf in config_leaves() if is_left_out(leaf)}
    assert set(built) == set(config_leaves()) - left_out
    assert {leaf: error for leaf, error in built.items() if error} == {}
    if left_out:
        pytest.skip(f'all but {", ".join(sorted(left_out))} were built: {REASON}')


SMALL_PICTURES = ['train_dataloader.dataset.pipeline.2.scale=(320,192)']
FEW_REGIONS = [f'model.train_cfg.rcnn.{i}.sampler.num=16' for i in range(3)]
# leaf -> what makes it small
TRAINED = {
    'retinanet/r50_2x_coco.py': SMALL_PICTURES,
    'retinanet/se_r50_2x_coco.py': SMALL_PICTURES,
    'cascade_rcnn/r50_2x_coco.py': SMALL_PICTURES + FEW_REGIONS,
    'cascade_rcnn/gc_r50_2x_coco.py': SMALL_PICTURES + FEW_REGIONS,
}


@pytest.mark.integration
@pytest.mark.realdata
@pytest.mark.parametrize('leaf', TRAINED)
def test_mmdets_own_train_runs_two_iterations_on_real_images(leaf, coco_root, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'coco').symlink_to(coco_root)
    options = [
        *TRAINED[leaf],
        'model.backbone.init_cfg=None',  # published weights are a download
        'train_dataloader.dataset.indices=4',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_cfg.max_epochs=1',
        'train_cfg.val_begin=9',  # with val_interval alone the last epoch is validated
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=9',
        'default_hooks.checkpoint.save_last=False',
    ]
    result = call(
        *(sys.executable, '-W', 'ignore', stock_tool('mmdet', 'train.py'), config_root() / leaf),
        *('--work-dir', 'work', '--cfg-options', *options),
        cwd=tmp_path,
    )
    text = result.stdout + result.stderr
    assert result.returncode == 0, text[-3000:]
    losses = re.findall(r'Epoch\(train\)\s+\[1\]\[\d/2\].* loss: (\S+)', text)
    assert len(losses) == 2
    assert all(0 < float(loss) < 1e4 for loss in losses)
