"""What mmengine's runner runs, a session runs: the same losses and metrics, habit by habit."""

import copy
import json
from pathlib import Path

import mmengine.config.config
import mmengine.runner.runner
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

import selnext_mm.engine.environment
from tests.engine.both_runners import (
    LOAD,
    META,
    PACK,
    RESIZE,
    TEST,
    TRAIN,
    assert_same,
    detection,
    loader,
    run_ours,
    run_stock,
    same_by_both,
    shapes,
)

pytest.importorskip('mmdet')
HABITS = {}
QUICK = (
    'nothing_special',
    'several_data_sets',
    'iteration_based',
    'proposals',
    'no_validation',
)  # in `make test`


def habit(change):
    HABITS[change.__name__] = change
    return change


@habit
def nothing_special(cfg, root, folder):
    pass


@habit
def repeat_dataset(cfg, root, folder):
    inner = shapes(root, 'train', TRAIN, 2)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)


@habit
def class_balanced_dataset(cfg, root, folder):
    inner = shapes(root, 'train', TRAIN, 3)
    cfg.train_dataloader.dataset = dict(
        type='ClassBalancedDataset', oversample_thr=0.9, dataset=inner
    )


@habit
def concat_dataset(cfg, root, folder):
    parts = [shapes(root, split, TRAIN, 2) for split in ('train', 'val')]
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)


@habit
def multi_image_mix_dataset(cfg, root, folder):
    mixed = [
        dict(type='Mosaic', img_scale=(64, 64), pad_val=114.0),
        dict(type='RandomAffine', border=(-32, -32)),
        dict(type='MixUp', img_scale=(64, 64), pad_val=114.0),
        RESIZE,
        PACK,
    ]
    cfg.train_dataloader.dataset = dict(
        type='MultiImageMixDataset', dataset=shapes(root, 'train', LOAD, 4), pipeline=mixed
    )


@habit
def iteration_based(cfg, root, folder):
    # mmengine draws one random number more before the weights: here nothing else is drawn.
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope('mmdet'):
        weights = MODELS.build(cfg.model).state_dict()
    cfg.load_from = str(folder / 'weights.pth')
    torch.save(dict(state_dict=weights), cfg.load_from)
    cfg.train_dataloader.dataset.pipeline[-2].prob = 0.0
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=3, val_interval=2)
    cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)


@habit
def several_data_sets(cfg, root, folder):
    parts = [shapes(root, split, TEST, 2) for split in ('val', 'train')]
    whole = dict(type='ConcatDataset', datasets=parts)
    metrics = []
    for split in ('val', 'train'):
        path = f'{root}/annotations/instances_{split}2017.json'
        metrics.append(dict(type='CocoMetric', ann_file=path, metric='bbox'))
    for kind in ('val', 'test'):
        cfg[f'{kind}_dataloader'] = loader(copy.deepcopy(whole))
        cfg[f'{kind}_evaluator'] = dict(
            type='MultiDatasetsEvaluator',
            metrics=copy.deepcopy(metrics),
            dataset_prefixes=['one', 'two'],
        )


@habit
def own_thresholds(cfg, root, folder):
    for kind in ('val', 'test'):
        cfg[f'{kind}_evaluator'].update(iou_thrs=[0.1, 0.3])


@habit
def proposals(cfg, root, folder):
    for kind in ('val', 'test'):
        cfg[f'{kind}_evaluator'].update(metric=['bbox', 'proposal'], proposal_nums=(5, 20, 50))


@habit
def metrics_side_by_side(cfg, root, folder):
    for kind in ('val', 'test'):
        one = cfg[f'{kind}_evaluator']
        cfg[f'{kind}_evaluator'] = [one, dict(one, metric='proposal', prefix='other')]


@habit
def no_validation(cfg, root, folder):
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None


@habit
def no_validation_at_all(cfg, root, folder):
    for kind in ('val', 'test'):
        for key in ('dataloader', 'cfg', 'evaluator'):
            cfg.pop(f'{kind}_{key}')


@habit
def time_augmentation(cfg, root, folder):
    cfg.tta_model = dict(
        type='DetTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=50),
    )
    sizes = [dict(type='Resize', scale=(s, s), keep_ratio=True) for s in (64, 96)]
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    views = [sizes, flips, [LOAD[1]], [dict(PACK, meta_keys=META)]]
    cfg.tta_pipeline = [LOAD[0], dict(type='TestTimeAug', transforms=views)]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Both runners ask for compilers and format their config: longer than the runs."""
    monkeypatch.setattr(mmengine.config.config, 'FormatCode', lambda text, **_: (text, True))
    for module in (mmengine.runner.runner, selnext_mm.engine.environment):
        monkeypatch.setattr(module, 'collect_env', dict)


@pytest.mark.parametrize(
    'name',
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in HABITS],
)
def test_a_detector_gives_what_the_stock_runner_gives(name, shapes_root, tmp_path):
    cfg = detection(shapes_root)
    HABITS[name](cfg, shapes_root, tmp_path)
    stock = same_by_both(cfg, tmp_path)
    if stock[1]:
        assert any(value > 0 for value in stock[1].values()), stock[1]


def test_predictions_are_written_and_not_scored(shapes_root, tmp_path):
    """``format_only`` on a test set without labels: the same file."""
    path = tmp_path / 'unlabelled.json'
    written = []
    for name, run in (('stock', run_stock), ('ours', run_ours)):
        cfg = detection(shapes_root)
        content = json.loads(Path(cfg.test_evaluator.ann_file).read_text())
        path.write_text(json.dumps({**content, 'annotations': []}))
        cfg.test_dataloader.dataset.update(ann_file=str(path), test_mode=True)
        prefix = str(tmp_path / name / 'found')
        cfg.test_evaluator.update(ann_file=str(path), format_only=True, outfile_prefix=prefix)
        _, metrics = run(cfg, tmp_path / name)
        assert metrics == {}
        written.append(json.loads(Path(f'{prefix}.bbox.json').read_text()))
    ours, stock = written
    assert ours == stock
    assert len(ours) > 100


PURE = """
from mmengine.config import read_base
from mmengine.hooks import LoggerHook
from mmengine.dataset import RepeatDataset
from mmdet.evaluation import CocoMetric
from mmengine.runner import EpochBasedTrainLoop
from torch.optim import SGD

with read_base():
    from .base import *

optim_wrapper.update(optimizer=dict(type=SGD, lr=0.01))
train_cfg.update(type=EpochBasedTrainLoop)
default_hooks.logger.update(type=LoggerHook)
repeated = dict(type=RepeatDataset, times=2, dataset=train_dataloader.dataset)
train_dataloader = dict(train_dataloader, dataset=repeated)
val_evaluator.update(type=CocoMetric)
"""


def test_a_pure_python_config(shapes_root, tmp_path):
    cfg = detection(shapes_root)
    (tmp_path / 'base.py').write_text(cfg.pretty_text)
    (tmp_path / 'mine.py').write_text(PURE)
    stock = run_stock(Config.fromfile(tmp_path / 'mine.py'), tmp_path / 'stock')
    ours = run_ours(tmp_path / 'mine.py', tmp_path / 'ours')
    for one, other in zip(ours, stock, strict=True):
        assert_same(one, other)
    assert len(stock[0]['train/loss']) == 4
