"""Options that nothing reads are errors that say what was meant."""

import pytest
from mmengine.config import Config

from selnext_mm.config.load import merge_options
from selnext_mm.errors import UserError


def config():
    return Config(
        dict(
            model=dict(
                type='RetinaNet',
                backbone=dict(type='SELNeXt'),
                test_cfg=dict(rcnn=dict(score_thr=0.05, max_per_img=100)),
            ),
            train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12),
            auto_scale_lr=dict(enable=False, base_batch_size=16),
            train_pipeline=[dict(type='Resize', scale=(1, 1))],
            data_root='data',
        )
    )


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ({'optimizer.lr': 0.01}, r'write optim_wrapper\.optimizer\.lr'),
        ({'epochs': 3}, r'write train_cfg\.max_epochs'),
        ({'batch_size': 8}, r'write train_dataloader\.batch_size'),
        ({'size': (400, 400)}, r'write train_dataloader\.dataset\.pipeline'),
        ({'train_pipeline.0.scale': 3}, r'already used.*train_dataloader\.dataset\.pipeline\.0'),
        ({'classes': ['a']}, r'metainfo\.classes'),
        ({'data_root': 'x'}, r'already used.*--data-root DIR'),
        ({'modle.backbone.arch': 'tiny'}, r'did you mean model\?'),
        ({'model.test_cfg.rcnn.score_th': 0.1}, r'did you mean model\.test_cfg\.rcnn\.score_thr'),
        ({'auto_scale_lr.enabel': True}, r'did you mean auto_scale_lr\.enable'),
    ],
)
def test_an_option_that_nothing_reads_is_an_error(option, words):
    with pytest.raises(UserError, match=words):
        merge_options(config(), option)


@pytest.mark.parametrize(
    'option',
    [
        {'model.backbone.arch': 'tiny'},
        {'model.test_cfg.rcnn.nms.iou_threshold': 0.5},
        {'train_cfg.max_epochs': 1},
        {'randomness.seed': 1},
        {'custom_hooks': []},
    ],
)
def test_an_option_that_is_read_is_merged(option):
    cfg = merge_options(config(), option)
    node = cfg
    for key in next(iter(option)).split('.'):
        node = node[key]
    assert node == next(iter(option.values()))
