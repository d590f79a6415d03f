"""Masks of labels are not loaded for an evaluation that does not read them."""

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook

from selnext_mm import Session
from selnext_mm.engine.hooks.prediction_images import PredictionImagesHook
from selnext_mm.engine.unused_masks import without_unused_masks
from tests.export.small_detectors import save_detector

pytest.importorskip('mmdet')


def loader(kind='LoadAnnotations'):
    steps = [dict(type='LoadImageFromFile'), dict(type=kind, with_bbox=True, with_mask=True)]
    inner = dict(type='CocoDataset', ann_file='a.json', pipeline=steps)
    return dict(batch_size=1, dataset=dict(type='RepeatDataset', dataset=inner))


def loads(loader):
    return loader['dataset']['dataset']['pipeline'][1]['with_mask']


COCO = dict(type='CocoMetric', ann_file='a.json')


@pytest.mark.parametrize(
    ('evaluator', 'hooks', 'kept'),
    [
        (COCO, [], False),
        ([COCO, dict(COCO, metric='segm')], [Hook()], False),
        (dict(type='CocoMetric', ann_file=None), [], True),
        ([COCO, dict(type='DumpDetResults', out_file_path='a.pkl')], [], True),
        (None, [], True),
        (dict(type='OwnMetric', ann_file='a.json'), [], True),
        (dict(type='mmdet.CocoMetric', ann_file='a.json'), [], False),
        (COCO, [PredictionImagesHook(2)], True),
    ],
)
@pytest.mark.parametrize('kind', ['LoadAnnotations', 'mmdet.LoadAnnotations'])
def test_they_are_kept_where_something_reads_them(evaluator, hooks, kept, kind):
    cfg, given = Config(dict(val_evaluator=evaluator)), loader(kind)
    assert loads(without_unused_masks(given, 'val', cfg, hooks)) is kept
    assert loads(given), 'the config stays as it is'


def test_a_hook_of_the_user_or_one_that_draws_may_read_them():
    from mmdet.engine.hooks import DetVisualizationHook

    class Own(Hook):
        pass

    cfg = Config(dict(test_evaluator=COCO))
    for hook, kept in (
        (Own(), True),
        (DetVisualizationHook(), False),
        (DetVisualizationHook(draw=True, show=True), True),
    ):
        assert loads(without_unused_masks(loader(), 'test', cfg, [hook])) is kept, hook


@pytest.mark.integration
def test_a_test_loads_none(shapes_root, tmp_path):
    """88 objects in 4000x3000 pixels took 5 GB, and scored the same."""
    saved = save_detector(tmp_path, 'mask_rcnn')
    scores = []
    for draws in (False, True):
        session = Session(saved.config, shapes_root, tmp_path / f'work{draws}')
        session.cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
        session.cfg.test_dataloader.dataset.indices = 2
        more = dict(show_dir=str(tmp_path / 'shown')) if draws else {}
        scores.append(session.test(saved.checkpoint, **more))
        sample = session.runner.test_dataloader.dataset[0]['data_samples'].gt_instances
        assert ('masks' in sample) is draws
        kept = Config.fromfile(next((tmp_path / f'work{draws}').rglob('*.py')))
        steps = kept.test_dataloader.dataset.pipeline
        assert [s.with_mask for s in steps if s.type == 'LoadAnnotations'] == [True]
    assert scores[0] == scores[1]
