"""PATNet's configs against Tables 7 and 8, and one real training step of each kind."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, PARAM_SCHEDULERS, DefaultScope

from selnext_mm.config_files import find_config

pytest.importorskip('mmpretrain')
pytest.importorskip('mmdet')

# arch: drop path, weight decay, lr, batch, magnitude, mixup, clip
TABLE_7 = {
    't0': (0.0, 0.005, 4e-3, 4096, None, 0.05, None),
    't1': (0.02, 0.01, 4e-3, 4096, 3, 0.1, None),
    't2': (0.05, 0.02, 4e-3, 4096, 5, 0.1, None),
    's': (0.1, 0.03, 4e-3, 4096, 7, 0.3, None),
    'm': (0.2, 0.05, 2e-3, 2048, 7, 0.5, 1),
    'l': (0.3, 0.05, 2e-3, 2048, 7, 0.7, 0.01),
}
# arch: lr, drop path
TABLE_8 = {'s': (2e-4, 0.15), 'm': (1e-4, 0.2), 'l': (2e-4, 0.3)}
SMALL = dict(depths=(1, 1, 1, 1), channels=(16, 32, 64, 128))


def load(name):
    return Config.fromfile(find_config(name))


def build(cfg):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.mark.parametrize('arch', list(TABLE_7))
def test_classifiers_are_table_7(arch):
    cfg = load(f'cls/patnet_{arch}_in1k.py')
    drop_path, decay, lr, batch, magnitude, mixup, clip = TABLE_7[arch]
    assert cfg.model.backbone.arch == arch
    assert cfg.model.backbone.get('drop_path_rate', 0.0) == drop_path
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', lr, decay)
    assert 'paramwise_cfg' not in cfg.optim_wrapper
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.optim_wrapper.get('clip_grad', {}).get('max_norm') == clip

    warm_up, cosine = cfg.param_scheduler
    assert warm_up.start_factor * lr == pytest.approx(1e-6)
    assert (warm_up.end, cosine.begin, cosine.end, cosine.eta_min) == (20, 20, 300, 1e-5)
    assert cfg.train_cfg.max_epochs == 300

    pipeline = cfg.train_dataloader.dataset.pipeline
    names = [step.type for step in pipeline]
    levels = [step.magnitude_level for step in pipeline if step.type == 'RandAugment']
    assert levels == ([] if magnitude is None else [magnitude])
    assert names[-1] == 'PackInputs'
    assert 'RandomErasing' not in names
    resize, crop = cfg.test_dataloader.dataset.pipeline[1:3]
    assert (resize.scale, crop.crop_size) == (248, 224)

    first, second = cfg.model.train_cfg.augments
    assert (first.type, first.alpha, second.type, second.alpha) == ('Mixup', mixup, 'CutMix', 1.0)
    assert cfg.model.head.loss.label_smooth_val == 0.1
    (hook,) = cfg.custom_hooks
    assert [tuple(x) for x in hook.schedule] == [(0, (128, 160, 192, 224, 256, 288))]


@pytest.mark.parametrize(('arch', 'lr'), [('t0', 4e-3), ('m', 2e-3)])
def test_rates_are_those_of_the_published_code(arch, lr):
    """Its scheduler counts 20 epochs of warm-up as 19 steps: t / 19, from epoch 20 a cosine."""
    cfg = load(f'cls/patnet_{arch}_in1k.py')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer)) for s in cfg.param_scheduler]
    for t in range(300):
        if t < 20:
            expected = 1e-6 + (lr - 1e-6) * t / 19
        else:
            expected = 1e-5 + (lr - 1e-5) * (1 + math.cos(math.pi * (t - 20) / 280)) / 2
        assert optimizer.param_groups[0]['lr'] == pytest.approx(expected), t
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('arch', list(TABLE_8))
def test_detectors_are_table_8(arch):
    cfg = load(f'mask_rcnn/patnet_{arch}_1x_coco.py')
    lr, drop_path = TABLE_8[arch]
    assert (cfg.model.backbone.arch, cfg.model.backbone.drop_path_rate) == (arch, drop_path)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', lr, 1e-4)
    assert 'momentum' not in optimizer
    warm_up, steps = cfg.param_scheduler
    assert (warm_up.end, steps.milestones, cfg.train_cfg.max_epochs) == (500, [8, 11], 12)
    assert cfg.train_dataloader.batch_size == 2
    assert cfg.model.backbone.gate_norm_eval


def test_a_classifier_takes_a_training_step():
    from mmengine.optim import OptimWrapper
    from mmpretrain.structures import DataSample

    cfg = load('cls/patnet_t1_in1k.py')
    cfg.model.backbone.arch = SMALL
    cfg.model.backbone.act_cfg = dict(type='GELU')
    cfg.model.neck.in_channels = 128
    # mmpretrain's runner does these two from the top level of the config.
    cfg.model.data_preprocessor = dict(cfg.data_preprocessor)
    model = build(cfg).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = dict(
        inputs=torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8),
        data_samples=[DataSample().set_gt_label(i) for i in (3, 5)],
    )
    losses = model.train_step(data, OptimWrapper(optimizer))
    assert torch.isfinite(losses['loss'])


def test_a_detector_takes_a_training_step_with_one_image():
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.optim import OptimWrapper
    from mmengine.structures import InstanceData

    cfg = load('mask_rcnn/patnet_s_1x_coco.py')
    cfg.model.backbone.arch = SMALL
    cfg.model.neck.update(in_channels=[16, 32, 64, 128])
    model = build(cfg).train()
    before = {k: v.clone() for k, v in model.backbone.named_parameters()}
    sample = DetDataSample(metainfo=dict(img_shape=(96, 128), scale_factor=(1.0, 1.0)))
    masks = torch.zeros(1, 96, 128, dtype=torch.uint8)
    masks[0, 20:60, 30:90] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[30.0, 20.0, 90.0, 60.0]]),
        labels=torch.tensor([1]),
        masks=BitmapMasks(masks.numpy(), 96, 128),
    )
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses = model.train_step(dict(inputs=[image], data_samples=[sample]), OptimWrapper(optimizer))
    assert all(torch.isfinite(v).all() for v in losses.values() if torch.is_tensor(v))
    after = dict(model.backbone.named_parameters())
    assert all(torch.isfinite(p).all() for p in after.values())
    assert any(not torch.equal(p, before[k]) for k, p in after.items())
