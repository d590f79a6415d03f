"""``--tta`` against its definition: both views by hand, turned back and merged."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from selnext_mm import Session, UserError
from selnext_mm.config.load import load_config
from selnext_mm.engine.test_time_aug import use_tta
from tests.engine.both_runners import META, built_by_stock, detection

mmdet = pytest.importorskip('mmdet')
LOADER = {'test_dataloader.num_workers': 0, 'test_dataloader.batch_size': 2}


def found_in(model, data):
    """(boxes, scores, labels, masks) of one view."""
    with torch.no_grad():
        (sample,) = model.test_step(data)
    found = sample.pred_instances
    return found.bboxes, found.scores, found.labels, torch.as_tensor(found.masks)


def test_a_detector_sees_each_image_mirrored_as_well(detector, shapes_root, tmp_path):
    from mmcv.ops import batched_nms

    session = Session(detector.config, shapes_root, tmp_path / 'work', LOADER)
    metrics = session.test(detector.checkpoint, tta=True)
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= metrics.keys()
    tta = session.runner.model
    state = torch.load(detector.checkpoint)['state_dict']
    for key, value in tta.module.state_dict().items():
        assert torch.equal(value, state[key]), f'{key} is not that of the checkpoint'
    data = next(iter(session.runner.test_dataloader))
    with torch.no_grad():
        merged = tta.test_step(data)[0].pred_instances
    views = []
    for i in range(2):
        inputs, sample = data['inputs'][i][0], data['data_samples'][i][0]
        views.append(found_in(tta.module, dict(inputs=[inputs], data_samples=[sample])))
    assert torch.equal(data['inputs'][0][0].flip(-1), data['inputs'][1][0])
    width = data['data_samples'][0][0].ori_shape[1]
    boxes, scores, labels, masks = views[1]
    turned = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    views[1] = turned, scores, labels, masks.flip(-1)
    boxes, scores, labels, masks = (torch.cat(v) for v in zip(*views, strict=True))
    best, kept = batched_nms(boxes, scores, labels, dict(type='nms', iou_threshold=0.5))
    assert len(merged.scores) == min(100, len(best)) > 5
    assert (kept[:100] >= len(views[0][0])).any(), 'the mirrored view has no say'
    torch.testing.assert_close(merged.bboxes, best[:100, :4])
    torch.testing.assert_close(merged.scores, best[:100, 4])
    assert torch.equal(merged.labels, labels[kept[:100]])
    assert torch.equal(merged.masks, masks[kept[:100]])


@pytest.mark.parametrize(
    ('direction', 'place'),
    [('horizontal', (0, 3)), ('vertical', (2, 0)), ('diagonal', (2, 3))],
)
def test_masks_are_turned_back(direction, place):
    from selnext_mm.evaluation.mask_tta import flip_back

    masks = torch.zeros(1, 3, 4)
    masks[0, 0, 0] = 1
    assert flip_back(masks, dict(flip=True, flip_direction=direction))[(0, *place)] == 1
    assert flip_back(masks, dict(flip=False)) is masks


@pytest.fixture
def folders(tmp_path):
    """Class folders with two images in each."""
    generator = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in ('ant', 'bee', 'cat', 'dog'):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(2):
                noise = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                picture = Image.fromarray(noise).resize((64, 64))
                picture.save(tmp_path / split / name / f'{i}.png')
    return tmp_path


def test_a_classifier_averages_its_scores(classifier, folders, tmp_path):
    names = ['ant', 'bee', 'cat', 'dog']
    classes = {
        'test_dataloader.dataset.metainfo': dict(classes=names),
        'data_preprocessor.num_classes': 4,
        'test_evaluator.topk': (1,),
    }
    session = Session(
        classifier.config, folders, tmp_path / 'work', LOADER | classes, check_data=False
    )
    session.test(classifier.checkpoint, tta=True)
    tta = session.runner.model
    data = next(iter(session.runner.test_dataloader))
    with torch.no_grad():
        merged = tta.test_step(data)
        scores = []
        for i in range(2):
            view = dict(inputs=data['inputs'][i], data_samples=data['data_samples'][i])
            scores.append(torch.stack([s.pred_score for s in tta.module.test_step(view)]))
    assert torch.equal(data['inputs'][0][0].flip(-1), data['inputs'][1][0])
    assert not torch.equal(*scores), 'both views give the same'
    # Bit for bit: fresh weights find all classes nearly alike in both views.
    assert torch.equal(torch.stack([s.pred_score for s in merged]), sum(scores) / 2)


def test_the_config_may_bring_its_own():
    dataset = dict(pipeline=[dict(type='LoadImageFromFile')])
    own = dict(type='Mine', tta_cfg=dict(a=1))
    cfg = Config(dict(model=dict(type='M'), tta_model=own, tta_pipeline=[dict(type='P')],
                      test_dataloader=dict(dataset=dict(dataset=dataset))))  # fmt: skip
    use_tta(cfg)
    assert cfg.model == dict(own, module=dict(type='M'))
    assert cfg.test_dataloader.dataset.dataset.pipeline == [dict(type='P')]


@pytest.mark.parametrize(
    ('scope', 'steps', 'text'),
    [
        ('mmseg', ['PackDetInputs'], r'neither of mmdet nor of mmpretrain \(default_scope=mmseg\)'),
        ('mmdet', ['LoadImageFromFile', 'Resize'], 'ends with Resize; expected PackDetInputs'),
        ('mmdet', [], 'ends with nothing'),
    ],
)
def test_without_a_default_it_is_refused(scope, steps, text):
    dataset = dict(pipeline=[dict(type=s) for s in steps])
    cfg = Config(dict(default_scope=scope, model={}, test_dataloader=dict(dataset=dataset)))
    with pytest.raises(UserError, match=text):
        use_tta(cfg)


VIEWS = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(64, 64), keep_ratio=True)],
            [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)],
            [dict(type='PackDetInputs', meta_keys=(*META, 'flip', 'flip_direction'))],
        ],
    ),
]
MERGING = dict(
    type='DetTTAModel', tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=50)
)


def test_a_config_whose_model_merges_views_is_tested_as_by_mmengine(shapes_root, tmp_path):
    """Its weights are those of the model inside: it was taken for a checkpoint of another one."""
    cfg = detection(shapes_root)
    with DefaultScope.overwrite_default_scope('mmdet'):
        weights = MODELS.build(cfg.model).state_dict()
    path = str(tmp_path / 'weights.pth')
    torch.save(dict(state_dict=weights, meta=dict()), path)
    cfg.model = dict(**MERGING, module=cfg.model)
    cfg.test_dataloader.dataset.pipeline = VIEWS
    cfg.test_evaluator.update(iou_thrs=[0.01], metric_items=['mAP', 'AR@1000'])
    metrics = Session(cfg, work_dir=tmp_path / 'ours').test(path)
    cfg.update(work_dir=str(tmp_path / 'stock'), load_from=path, launcher='none')
    stock = built_by_stock(cfg).test()
    assert stock['coco/bbox_AR@1000'] > 0
    assert {k: metrics[k] for k in stock} == stock
    with pytest.raises(UserError, match='is a DetTTAModel, which merges several views'):
        Session(cfg, work_dir=tmp_path / 'ours').train()


@pytest.mark.parametrize('option', [False, True])
def test_a_merging_model_that_takes_no_masks_is_told_before(
    option, detector, shapes_root, tmp_path
):
    cfg = load_config(detector.config, LOADER)
    if option:
        cfg.tta_model, cfg.tta_pipeline = MERGING, VIEWS
    else:
        cfg.model = dict(**MERGING, module=cfg.model)
    session = Session(cfg, shapes_root, tmp_path / 'work')
    with pytest.raises(UserError, match='DetTTAModel merges boxes alone: leave it out'):
        session.test(detector.checkpoint, tta=option)
    assert not (tmp_path / 'work').exists()
