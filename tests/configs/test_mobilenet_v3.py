"""The MobileNetV3 recipe: counts, and timm's schedule and augmentation, written down again here."""

import copy

import numpy as np
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from selnext_mm.analysis.complexity import build_model
from selnext_mm.config.load import load_config

VARIANTS = ('se', 'tanh', 'identity', 'seln', 'none', 'grn', 'eca')


@pytest.mark.parametrize(
    ('name', 'expected'),
    zip(
        VARIANTS,
        (5_483_032, 5_483_032, 5_483_032, 5_491_144, 3_970_752, 3_978_864, 3_970_786),
        strict=True,
    ),
)
def test_parameters_of_tables_6_and_7(name, expected):
    cfg = load_config(f'cls/mobilenet_v3_l_{name}_in1k.py')
    with torch.device('meta'):
        model = build_model(cfg).eval()
    assert sum(p.numel() for p in model.parameters()) == expected


def test_variants_differ_in_the_attention_only():
    base = load_config('cls/mobilenet_v3_l_se_in1k.py')
    base.model.backbone.pop('attention_cfg')
    for name in VARIANTS[1:]:
        other = load_config(f'cls/mobilenet_v3_l_{name}_in1k.py')
        other.model.backbone.pop('attention_cfg')
        assert other.to_dict() == base.to_dict(), name


def test_rates_are_timms():
    """Per epoch t: linear from 1e-6 over 5 epochs, then 0.064 * 0.973 ** (t // 2.4)."""
    cfg = load_config('cls/mobilenet_v3_l_se_in1k.py')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.064)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer)) for s in cfg.param_scheduler]
    for t in range(600):
        expected = 1e-6 + t * (0.064 - 1e-6) / 5 if t < 5 else 0.064 * 0.973 ** (t // 2.4)
        assert optimizer.param_groups[0]['lr'] == pytest.approx(expected), t
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def test_rmsprop_eps_stands_for_the_one_under_the_root():
    eps = load_config('cls/mobilenet_v3_l_se_in1k.py').optim_wrapper.optimizer.eps
    mean_square = np.logspace(-12, 4, 400)
    ratio = np.sqrt(mean_square + 1e-3) / (np.sqrt(mean_square) + eps)
    assert ratio[0] == pytest.approx(1, abs=1e-3)
    assert ratio[-1] == pytest.approx(1, abs=1e-3)
    assert ratio.min() == pytest.approx(2**-0.5, abs=1e-3)


def test_augmentation_is_timms_without_increasing():
    transforms = pytest.importorskip('mmpretrain.datasets.transforms')
    cfg = load_config('cls/mobilenet_v3_l_se_in1k.py')
    (step,) = [t for t in cfg.train_pipeline if t['type'] == 'RandAugment']
    kwargs = {k: v for k, v in step.items() if k != 'type'}
    augment = transforms.RandAugment(**{**kwargs, 'magnitude_std': 0.0})
    strengths = {type(t).__name__: t for t in augment.transforms}
    assert len(augment.transforms) == 15
    # At level 9 of 10: colour factor 1 + 0.72 = 0.9 * 1.8 + 0.1, 3 bits, threshold 230.
    assert strengths['ColorTransform'].random_magnitude() == pytest.approx(0.72)
    assert int(strengths['Posterize'].random_magnitude()) == 3
    assert int(strengths['Solarize'].random_magnitude()) == 230
    assert abs(strengths['Rotate'].random_magnitude()) == pytest.approx(27)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for _ in range(20):
        assert augment(dict(img=image.copy()))['img'].shape == image.shape


@pytest.mark.parametrize('name', ['se', 'seln'])
def test_detector_of_table_8(name):
    pytest.importorskip('mmdet')
    cfg = load_config(f'mask_rcnn/mobilenet_v3_l_{name}_1x_coco.py')
    with torch.device('meta'):
        model = build_model(cfg).eval()
        features = model.backbone(torch.empty(1, 3, 64, 96))
    assert [f.shape[1] for f in features] == cfg.model.neck.in_channels
    assert cfg.train_cfg.max_epochs == 12
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', 2e-4, 1e-4)
    assert cfg.model.backbone.drop_path_rate == 0.15
    assert cfg.auto_scale_lr.base_batch_size == 16
    # What docs/ablations.md calls ours to choose.
    (resize,) = [t for t in cfg.train_dataloader.dataset.pipeline if 'Resize' in t['type']]
    assert (resize.type, tuple(resize.scale)) == ('Resize', (1333, 800))
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.loss_scale) == (
        'AutoAmpOptimWrapper',
        'dynamic',
    )
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.by_epoch, warm_up.start_factor, warm_up.end) == (False, 0.001, 500)
    assert steps.milestones == [8, 11]
    optimizer = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper)).optimizer
    decayed = [p.ndim for g in optimizer.param_groups if g['weight_decay'] for p in g['params']]
    free = [p.ndim for g in optimizer.param_groups if not g['weight_decay'] for p in g['params']]
    assert min(decayed) > 1
    assert set(free) == {1}
    assert {g['lr'] for g in optimizer.param_groups} == {2e-4}
