"""Names of metrics that the validation does not give."""

import pytest
from mmengine.config import Config

from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves
from selnext_mm.engine.preflight.monitors import check_monitored
from selnext_mm.errors import UserError

LEAVES = list({name.rpartition('/')[0]: name for name in reversed(config_leaves())}.values())
COCO = dict(type='mmdet.CocoMetric', metric=['bbox', 'segm'])
ACCURACY = dict(type='mmpretrain.Accuracy', topk=(1, 5))


def check(evaluator, **parts):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmpretrain')
    check_monitored(Config(dict(val_evaluator=evaluator, **parts)), ('val_dataloader',))


def best(name):
    return dict(default_hooks=dict(checkpoint=dict(type='CheckpointHook', save_best=name)))


def early(name):
    return dict(custom_hooks=[dict(type='EarlyStoppingHook', monitor=name)])


def plateau(**monitor):
    return dict(param_scheduler=[dict(type='ReduceOnPlateauLR', **monitor)])


@pytest.mark.parametrize('name', LEAVES)
def test_our_own_configs_pass(name):
    check_monitored(load_config(name), ('train_dataloader', 'val_dataloader'))


@pytest.mark.parametrize(
    ('evaluator', 'parts', 'words'),
    [
        (
            COCO,
            best('bbox_mAP'),
            "save_best .*did you mean 'coco/bbox_mAP'.*it gives coco/bbox_mAP",
        ),
        (COCO, best(['coco/bbox_mAP', 'coco/box_mAP']), "'coco/box_mAP'.*did you mean"),
        (dict(COCO, prefix='val'), best('coco/bbox_mAP'), "did you mean 'val/bbox_mAP'"),
        (dict(COCO, metric='bbox'), best('coco/segm_mAP'), 'gives no metric'),
        ([COCO, ACCURACY], early('accuracy/top3'), "did you mean 'accuracy/top[15]'"),
        (ACCURACY, early('top1'), "monitor of EarlyStoppingHook = 'top1'.*'accuracy/top1'"),
        (COCO, plateau(), "param_scheduler.0.monitor = 'loss'"),
        (COCO, plateau(monitor='coco/bbox_map'), "did you mean 'coco/bbox_mAP'"),
        (dict(COCO, classwise=True), best('bbox_mAP'), r'it gives coco/\.\.\.'),
    ],
)
def test_what_nothing_gives_is_told(evaluator, parts, words):
    with pytest.raises(UserError, match=words):
        check(evaluator, **parts)


@pytest.mark.parametrize(
    ('evaluator', 'parts'),
    [
        (COCO, best('auto')),
        (COCO, best(['coco/segm_mAP_s', 'coco/bbox_mAP'])),
        (dict(COCO, prefix='val'), best('val/bbox_mAP')),
        (dict(COCO, classwise=True), best('coco/cat_precision')),
        (dict(COCO, metric='proposal'), best('coco/AR@100')),
        (dict(type='Evaluator', metrics=[COCO]), best('coco/bbox_mAP')),
        (dict(type='MultiDatasetsEvaluator', metrics=[COCO]), best('first/coco/bbox_mAP')),
        (dict(type='Unknown'), best('anything')),
        ([COCO, dict(type='mmpretrain.Accuracy', topk=1)], early('accuracy/top1')),
        (COCO, plateau(monitor='coco/bbox_mAP', rule='greater')),
    ],
)
def test_what_is_given_or_cannot_be_known_passes(evaluator, parts):
    check(evaluator, **parts)
