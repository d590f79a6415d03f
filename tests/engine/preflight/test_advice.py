import pytest
import torch
from mmengine.config import Config

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.engine.preflight.advice import lr_for_batch, random_and_fixed
from selnext_mm.engine.safe_defaults import add_class_ap, make_safe


@pytest.mark.parametrize(
    'name',
    ['mask_rcnn/selnext_t_3x_coco.py', 'cls/selnext_t_in1k.py', 'retinanet/na_r50_2x_coco.py'],
)
def test_our_configs_are_safe(name):
    cfg = load_config(name)
    make_safe(cfg)
    assert cfg.default_hooks.checkpoint.type == 'SafeCheckpointHook'
    assert cfg.default_hooks.checkpoint.every_minutes == 30
    assert cfg.train_cfg.type == 'ResumableEpochBasedTrainLoop'
    assert 'by_epoch' not in cfg.train_cfg
    assert cfg.default_hooks.finite_loss.type == 'FiniteLossHook'


@pytest.mark.parametrize(
    ('train_cfg', 'expected'),
    [
        (dict(by_epoch=True, max_epochs=1), 'ResumableEpochBasedTrainLoop'),
        (dict(by_epoch=False, max_iters=1), 'ResumableIterBasedTrainLoop'),
        (dict(type='IterBasedTrainLoop', max_iters=1), 'ResumableIterBasedTrainLoop'),
        (dict(type='mmdet.MyLoop'), 'mmdet.MyLoop'),
    ],
)
def test_a_foreign_config_gets_what_it_did_not_choose_itself(train_cfg, expected):
    cfg = Config(dict(model=dict(), train_cfg=train_cfg))
    make_safe(cfg)
    assert cfg.train_cfg.type == expected
    assert cfg.default_hooks.checkpoint == dict(type='SafeCheckpointHook', interval=1)
    assert cfg.custom_imports.imports == ['selnext_mm']


def test_imports_of_a_config_are_kept():
    for names in ('mine', ['mine'], ['mine', 'selnext_mm']):
        cfg = Config(dict(train_cfg=dict(type='X'), custom_imports=dict(imports=names)))
        make_safe(cfg)
        assert cfg.custom_imports.imports == ['mine', 'selnext_mm']


def test_what_a_config_chose_stays():
    hooks = dict(checkpoint=dict(type='MyHook'))
    custom = [dict(type='FiniteLossHook', patience=5)]
    cfg = Config(dict(train_cfg=dict(type='X'), default_hooks=hooks, custom_hooks=custom))
    make_safe(cfg)
    assert cfg.default_hooks == hooks


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        ({}, [True]),
        ({'val_evaluator.classwise': False}, [False]),
        ({'val_dataloader.dataset.metainfo': dict(classes=['x'] * 101)}, [None]),
        ({'val_evaluator.type': 'DumpDetResults'}, [None]),
        ({'val_evaluator.iou_thrs': [0.5]}, [True]),
        (
            # Below a wrapper, and in an evaluator with several metrics.
            {
                'val_dataloader.dataset': dict(
                    type='RepeatDataset', times=1, dataset=dict(type='CocoDataset', ann_file='a')
                ),
                'val_evaluator': [dict(type='mmdet.CocoMetric'), dict(type='CocoMetric')],
            },
            [True, True],
        ),
        ({'val_dataloader': None}, [None]),
    ],
)
def test_every_class_of_up_to_a_hundred_gets_its_ap(options, expected):
    cfg = load_config('mask_rcnn/selnext_t_3x_coco.py', options)
    add_class_ap(cfg)
    found = cfg.val_evaluator
    metrics = found if isinstance(found, list) else [found]
    assert [m.get('classwise') for m in metrics] == expected
    assert 'classwise' not in cfg.test_evaluator


def config(batch=2, base=16, enable=None, **wrapper):
    scale = dict(base_batch_size=base)
    if enable is not None:
        scale['enable'] = enable
    return Config(
        dict(
            auto_scale_lr=scale,
            train_dataloader=dict(batch_size=batch),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-4), **wrapper),
        )
    )


def test_an_lr_for_another_batch_is_told_with_the_number_that_would_fit():
    text = lr_for_batch(config(), processes=1)
    assert 'lr 0.0001 is meant for a batch of 16; this run has 2 (2 images x 1 process)' in text
    assert 'optim_wrapper.optimizer.lr=1.25e-05' in text
    assert '--auto-scale-lr' in text


def test_accumulation_belongs_to_the_batch():
    assert lr_for_batch(config(accumulative_counts=4), processes=2) is None
    text = lr_for_batch(config(accumulative_counts=2), processes=2)
    assert 'x 2 accumulated' in text
    assert 'lr=5e-05' in text
    assert '--auto-scale-lr' not in text


@pytest.mark.parametrize(
    ('cfg', 'processes'),
    [(config(), 8), (config(enable=True), 1), (config(base=None), 1)],
)
def test_no_word_where_it_fits_or_is_scaled_or_unknown(cfg, processes):
    assert lr_for_batch(cfg, processes) is None


def fixed(name, **changes):
    cfg = load_config(name, changes)
    with torch.device('meta'):
        return random_and_fixed(cfg, build_model(cfg))


@pytest.mark.parametrize('name', ['retinanet/na_r50_2x_coco.py', 'cascade_rcnn/na_r50_2x_coco.py'])
def test_a_frozen_random_stem_is_told(name):
    text = fixed(name)
    assert 'NAResNet starts from random weights' in text
    assert 'frozen_stages=1 never trains' in text
    assert 'norm_eval=True keeps the initial statistics' in text
    remedy = text.rpartition('--cfg-options ')[2].split()
    assert remedy == ['model.backbone.frozen_stages=-1', 'model.backbone.norm_eval=False']
    assert (
        fixed(
            name,
            **{k: int(v) if v != 'False' else False for k, v in (r.split('=') for r in remedy)},
        )
        is None
    )


@pytest.mark.parametrize('key', ['pretrained', 'load_from', 'resume', 'model.init_cfg'])
def test_a_frozen_stem_that_was_loaded_is_not(key):
    value = {'resume': True, 'model.init_cfg': dict(type='Pretrained', checkpoint='w.pth')}
    assert fixed('retinanet/na_r50_2x_coco.py', **{key: value.get(key, 'w.pth')}) is None


def test_a_published_backbone_is_a_start():
    assert fixed('retinanet/r50_2x_coco.py') is None
    text = fixed('retinanet/r50_2x_coco.py', **{'model.backbone.init_cfg': None})
    assert 'ResNet starts from random weights' in text


def test_gates_on_initial_statistics_are_told():
    text = fixed('mask_rcnn/patnet_s_1x_coco.py')
    assert "gate_norm_eval=True keeps the initial statistics (0 and 1) of the gates' norms" in text
    assert text.endswith('--cfg-options model.backbone.gate_norm_eval=False')
    frozen = fixed('mask_rcnn/patnet_s_1x_coco.py', **{'model.backbone.frozen_stages': 2})
    assert frozen.endswith('model.backbone.frozen_stages=0 model.backbone.gate_norm_eval=False')


@pytest.mark.parametrize(
    'name', ['cls/na_resnet50_in1k.py', 'mask_rcnn/selnext_t_3x_coco.py', 'cls/patnet_t0_in1k.py']
)
def test_training_all_from_scratch_is_no_mistake(name):
    assert fixed(name) is None
