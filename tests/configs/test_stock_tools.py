"""Stock tools, which import nothing of ours by themselves, build and train what the leaves name."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves, config_root
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


DETECTORS = [
    leaf
    for leaf in config_leaves()
    if leaf.split('/')[0].endswith(('rcnn', 'retinanet')) and not leaf.endswith('_shapes.py')
]


def small(node, key: str) -> Iterator[str]:
    """Options for small pictures and few regions, where ``node`` stands at ``key``."""
    if isinstance(node, dict):
        if 'scale' in node:
            yield f'{key}.scale=(320,192)'
        if 'scales' in node:
            yield f'{key}.scales=[(320,192)]'
        if node.get('type') == 'RandomSampler':
            yield f'{key}.num=16'
    children = node.items() if isinstance(node, dict) else enumerate(node)
    for name, child in children:
        if isinstance(child, (dict, list)):
            yield from small(child, f'{key}.{name}')


def two_iterations(leaf: str) -> list[str]:
    cfg = load_config(leaf)
    return [
        *small(cfg.train_dataloader.dataset.pipeline, 'train_dataloader.dataset.pipeline'),
        *small(cfg.model.get('train_cfg') or {}, 'model.train_cfg'),
        'model.backbone.init_cfg=None',  # published weights are a download
        'train_dataloader.dataset.indices=4',
        'train_dataloader.batch_size=2',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'train_cfg.max_epochs=1',
        'train_cfg.val_begin=9',  # with val_interval alone the last epoch is validated
        'default_hooks.logger.interval=1',
        'default_hooks.checkpoint.interval=9',
        'default_hooks.checkpoint.save_last=False',
    ]


@pytest.mark.integration
@pytest.mark.realdata
def test_mmdets_own_train_runs_two_iterations_of_every_detector_on_real_images(coco_root, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'coco').symlink_to(coco_root)
    runs = [
        [str(config_root() / leaf), '--work-dir', 'work', '--cfg-options', *two_iterations(leaf)]
        for leaf in DETECTORS
    ]
    (tmp_path / 'runs.json').write_text(json.dumps(runs))
    script = Path(__file__).with_name('stock_train.py')
    command = [sys.executable, '-W', 'ignore', script, stock_tool('mmdet', 'train.py'), 'runs.json']
    result = finish(command, cwd=tmp_path, env=dict(OMP_NUM_THREADS='1'), timeout=2400)
    assert result.returncode == 0, result.stderr[-3000:]
    ended = re.findall(r'^(done|failed) (\d+)$', result.stdout, re.M)
    assert len(ended) == len(DETECTORS) > 40
    for (how, _), (i, leaf) in zip(ended, enumerate(DETECTORS), strict=True):
        text = (tmp_path / f'{i}.txt').read_text()
        assert how == 'done', f'{leaf}\n{text[-3000:]}'
        losses = re.findall(r'Epoch\(train\)\s+\[1\]\[\d/2\].* loss: (\S+)', text)
        assert len(losses) == 2, f'{leaf}\n{text[-3000:]}'
        assert all(0 < float(loss) < 1e4 for loss in losses), (leaf, losses)
