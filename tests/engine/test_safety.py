import pytest
from mmengine.config import Config

from selnext_mm.engine.config import load_config
from selnext_mm.engine.safety import lr_for_batch, make_safe


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
    assert 'lr 0.0001 is meant for a batch of 16; this run has 2 (2 images x 1 process(es))' in text
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
