"""A classifier in a session and in mmengine's runner: the same numbers, habit by habit."""

import copy

import mmengine.config.config
import mmengine.runner.runner
import numpy as np
import pytest
from PIL import Image

import selnext_mm.engine.environment
from tests.engine.both_runners import (
    CLS_LOAD,
    CLS_TEST,
    CLS_TRAIN,
    class_folders,
    classification,
    same_by_both,
)

pytest.importorskip('mmpretrain')
CLASSES = ('ant', 'bee', 'cat')
HABITS = {}
QUICK = ('nothing_special', 'mixed_batches', 'k_folds', 'drawn_validation')  # in `make test`


def habit(change):
    HABITS[change.__name__] = change
    return change


@habit
def nothing_special(cfg, root):
    pass


@habit
def repeat_dataset(cfg, root):
    inner = class_folders(root, 'train', CLS_TRAIN)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)


@habit
def class_balanced_dataset(cfg, root):
    inner = class_folders(root, 'train', CLS_TRAIN)
    cfg.train_dataloader.dataset = dict(
        type='ClassBalancedDataset', oversample_thr=0.9, dataset=inner
    )


@habit
def concat_dataset(cfg, root):
    parts = [class_folders(root, split, CLS_TRAIN) for split in ('train', 'val')]
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)


@habit
def k_folds(cfg, root):
    fold = dict(type='KFoldDataset', num_splits=3, fold=1, seed=0)
    whole = class_folders(root, 'train', CLS_TRAIN)
    cfg.train_dataloader.dataset = dict(fold, dataset=whole, test_mode=False)
    held_out = class_folders(root, 'train', CLS_TEST)
    for kind in ('val', 'test'):
        cfg[f'{kind}_dataloader'].dataset = dict(fold, dataset=held_out, test_mode=True)


@habit
def lists_of_images(cfg, root):
    for split, kinds in {'train': ['train'], 'val': ['val', 'test']}.items():
        rows = [
            f'{name}/{path.name} {label}'
            for label, name in enumerate(CLASSES)
            for path in sorted((root / split / name).iterdir())
        ]
        (root / f'{split}.txt').write_text('\n'.join(rows) + '\n')
        for kind in kinds:
            cfg[f'{kind}_dataloader'].dataset.update(
                ann_file=f'{split}.txt', metainfo=dict(classes=CLASSES)
            )


@habit
def mixed_batches(cfg, root):
    cfg.model.train_cfg = dict(
        augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]
    )


@habit
def repeated_augmentation(cfg, root):
    cfg.train_dataloader.sampler = dict(type='RepeatAugSampler', shuffle=True)


@habit
def metrics_side_by_side(cfg, root):
    for kind in ('val', 'test'):
        cfg[f'{kind}_evaluator'] = [
            dict(type='Accuracy', topk=(1,)),
            dict(type='SingleLabelMetric', items=['precision', 'recall', 'f1-score']),
        ]


@habit
def averaged_weights(cfg, root):
    cfg.custom_hooks = [dict(type='EMAHook', momentum=0.5)]


@habit
def drawn_validation(cfg, root):
    """mmpretrain's hook, with images of one name in two folders."""
    cfg.default_hooks.visualization = dict(type='VisualizationHook', enable=True, interval=1)
    cfg.visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])


@habit
def no_validation(cfg, root):
    for key in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg[key] = None


@habit
def time_augmentation(cfg, root):
    cfg.tta_model = dict(type='AverageClsScoreTTA')
    flips = [dict(type='RandomFlip', prob=prob) for prob in (0.0, 1.0)]
    views = dict(type='TestTimeAug', transforms=[flips, [dict(type='PackInputs')]])
    cfg.tta_pipeline = [*copy.deepcopy(CLS_LOAD), views]


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    """Both runners ask for compilers and format their config: longer than the runs."""
    monkeypatch.setattr(mmengine.config.config, 'FormatCode', lambda text, **_: (text, True))
    for module in (mmengine.runner.runner, selnext_mm.engine.environment):
        monkeypatch.setattr(module, 'collect_env', dict)


@pytest.fixture
def root(tmp_path):
    """Three classes of unequal size; each has an image ``0.png``, another one."""
    rng = np.random.default_rng(0)
    for split, counts in {'train': (5, 3, 4), 'val': (3, 2, 3)}.items():
        for name, count in zip(CLASSES, counts, strict=True):
            folder = tmp_path / 'data' / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 255, (40, 32, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f'{i}.png')
    return tmp_path / 'data'


@pytest.mark.parametrize(
    'name',
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in HABITS],
)
def test_a_classifier_gives_what_the_stock_runner_gives(name, root, tmp_path):
    cfg = classification(root)
    HABITS[name](cfg, root)
    stock = same_by_both(cfg, tmp_path)
    assert stock[1]
