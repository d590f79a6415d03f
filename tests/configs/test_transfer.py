"""The transfer recipes: Table 1's third column, and the classes and classifiers of Table 3."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from selnext_mm.analysis.complexity import build_model
from selnext_mm.config.load import load_config, set_data_root

ROOT = Path(__file__).resolve().parents[2]
CLASSES = {'cifar100': 100, 'flowers102': 102, 'cars': 196, 'aircraft': 100}
MODELS = {
    'selnext_t': (35_126_656, 768),
    'selnext_s': (62_140_480, 768),
    'selnext_b': (109_715_208, 1024),
    'convnext_t': (28_589_128, 768),
    'convnext_s': (50_223_688, 768),
    'convnext_b': (88_591_464, 1024),
}


@pytest.mark.parametrize('data', CLASSES)
@pytest.mark.parametrize('model', MODELS)
def test_table_1(model, data):
    cfg = load_config(f'cls/transfer/{model}_{data}.py')
    imagenet, width = MODELS[model]
    if data == 'flowers102':
        with torch.device('meta'):
            params = sum(p.numel() for p in build_model(cfg).eval().parameters())
        assert params == imagenet - (1000 - CLASSES[data]) * (width + 1)
    assert cfg.data_preprocessor.num_classes == cfg.model.head.num_classes == CLASSES[data]
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 1e-4, 1e-4)
    assert tuple(optimizer.betas) == (0.9, 0.999)
    assert cfg.train_cfg.max_epochs == 40
    assert [s['end'] for s in cfg.param_scheduler] == [10, 40]
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 256
    pipeline = {t['type']: t for t in cfg.train_dataloader.dataset.pipeline}
    assert 'RandomErasing' not in pipeline
    augment = pipeline['RandAugment']
    assert (augment['magnitude_level'], augment['magnitude_std']) == (9, 0.5)
    assert cfg.model.head.loss.label_smooth_val == 0.1
    assert [(a['type'], a['alpha']) for a in cfg.model.train_cfg.augments] == [
        ('Mixup', 0.8),
        ('CutMix', 1.0),
    ]
    assert cfg.model.backbone.drop_path_rate == 0
    assert not cfg.custom_hooks


def test_cifar_pictures_reach_the_model_as_224(tmp_path):
    registry = pytest.importorskip('mmpretrain.registry')
    pytest.importorskip('mmpretrain.datasets')
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (4, 3072), dtype=np.uint8)
    for split in ('train', 'test'):
        (folder / split).write_bytes(pickle.dumps(dict(data=images, fine_labels=[0, 5, 99, 3])))
    names = [f'class {i}' for i in range(100)]
    (folder / 'meta').write_bytes(pickle.dumps(dict(fine_label_names=names)))
    cfg = load_config('cls/transfer/selnext_t_cifar100.py')
    set_data_root(cfg, tmp_path)
    dataset = dict(cfg.val_dataloader.dataset, download=False, lazy_init=True)
    data = registry.DATASETS.build(dataset)
    data._check_integrity = lambda: True
    data.full_init()
    assert len(data) == 4
    sample = data[2]
    assert sample['inputs'].shape == (3, 224, 224)
    assert sample['data_samples'].gt_label.item() == 99
    # Channels stay in order: red is red.
    red = images[2].reshape(3, 32, 32)[0].mean()
    assert abs(sample['inputs'][0].float().mean().item() - red) < 3
    assert cfg.data_preprocessor.to_rgb is False


@pytest.mark.parametrize('data', ['flowers102', 'aircraft'])
def test_these_are_trained_on_train_and_val_as_the_authors_do(data):
    cfg = load_config(f'cls/transfer/selnext_t_{data}.py')
    splits = [cfg[f'{name}_dataloader'].dataset.split for name in ('train', 'test')]
    assert splits == ['trainval', 'test']
    page = ' '.join((ROOT / 'docs' / 'ablations.md').read_text().split())
    assert "trained on train + val and tested on test, as in the authors' code" in page
