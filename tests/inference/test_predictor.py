"""Images through models: what comes out, and that batches change nothing."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_utils

from selnext_mm.errors import UserError
from selnext_mm.inference import Predictor, predict
from selnext_mm.inference.images import UNDECODED, ImageFile
from selnext_mm.inference.predictor import Loaded
from selnext_mm.runtime.pictures import read_picture
from tests.small_models import CONFIGS, SHAPES, TINY, save_model

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')


def run(model, images, **options):
    return predict(model.config, model.checkpoint, images, device='cpu', **options)


def test_a_detector_gives_plain_data(detector, pictures):
    records = run(detector, pictures)
    assert [r['file'] for r in records] == ['a.jpg', 'b.png', 'sub/a.jpg', 'sub/c.JPEG']
    assert json.loads(json.dumps(records)) == records
    assert [(r['width'], r['height']) for r in records[:2]] == [(120, 90), (90, 120)]
    for record in records:
        assert record['instances'], 'a random detector finds something everywhere'
        for item in record['instances']:
            assert item['category'] == SHAPES[item['label']]
            x, y, w, h = item['bbox']
            assert -1e-3 <= x <= x + w <= record['width'] + 1e-3
            assert -1e-3 <= y <= y + h <= record['height'] + 1e-3
            assert item['segmentation']['size'] == [record['height'], record['width']]
        scores = [i['score'] for i in record['instances']]
        assert scores == sorted(scores, reverse=True)


def test_batches_hold_one_input_shape_and_change_nothing(detector, pictures):
    predictor = Predictor(detector.config, detector.checkpoint, device='cpu', batch_size=3)
    step, seen = predictor.loaded.model.test_step, []

    def spy(data):
        seen.append([tuple(x.shape) for x in data['inputs']])
        return step(data)

    predictor.loaded.model.test_step = spy
    together = predictor(pictures)
    assert sorted(map(len, seen)) == [1, 1, 2]
    assert all(len(set(shapes)) == 1 for shapes in seen)
    for record, alone in zip(together, run(detector, pictures, batch_size=1), strict=True):
        assert record['file'] == alone['file']
        ours, theirs = ([i['score'] for i in r['instances']][:10] for r in (record, alone))
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_pictures_of_many_shapes_do_not_pile_up(detector):
    predictor = Predictor(detector.config, detector.checkpoint, device='cpu', batch_size=2)

    class Item(Loaded):
        shape = property(lambda self: self.index)

    waiting, largest = 0, 0

    def items():
        nonlocal waiting, largest
        for i in range(50):
            waiting += 1
            largest = max(largest, waiting)
            yield Item(ImageFile('', ''), i)

    for batch in predictor._batches(items()):
        waiting -= len(batch)
    assert (waiting, largest) == (0, 8)


def test_pixels_that_opencv_does_not_read_are_told_with_the_remedy(detector, pictures):
    Image.fromarray(np.ones((60, 80), np.float32)).save(pictures / 'd.tiff')
    (record,) = run(detector, [pictures / 'd.tiff'])
    assert record['error'] == UNDECODED
    with pytest.raises(UserError, match='cannot read its pixels'):
        read_picture(pictures / 'd.tiff')


def test_unreadable_pictures_are_records_with_an_error(detector, broken):
    records = run(detector, [broken, broken / 'gone.jpg'])
    errors = {r['file']: r['error'] for r in records if 'error' in r}
    assert set(errors) == {'cut.jpg', 'empty.png', 'text.jpg', 'gone.jpg'}
    assert 'truncated' in errors['cut.jpg']
    good = [r for r in records if 'error' not in r]
    assert len(good) == 4
    assert all(r['instances'] for r in good)


def test_a_grey_and_a_transparent_picture_are_pictures(detector, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 4), dtype=np.uint8)
    Image.fromarray(noise[..., 0]).save(tmp_path / 'grey.png')
    Image.fromarray(noise, 'RGBA').save(tmp_path / 'clear.png')
    assert all('instances' in r for r in run(detector, tmp_path))


def test_boxes_and_masks_are_the_model_s(detector, pictures):
    """Against mmdet's own inference of one image."""
    from mmdet.apis import inference_detector
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    model = detector.model
    model.cfg = detector.cfg
    sample = inference_detector(model, str(pictures / 'b.png'))
    found = sample.pred_instances
    (record,) = run(detector, pictures / 'b.png')
    assert len(record['instances']) == len(found) > 3
    for i, item in enumerate(record['instances']):
        x, y, w, h = item['bbox']
        torch.testing.assert_close(torch.tensor([x, y, x + w, y + h]), found.bboxes[i])
        assert item['score'] == pytest.approx(float(found.scores[i]), abs=1e-5)
        np.testing.assert_array_equal(
            mask_utils.decode(item['segmentation']).astype(bool), found.masks[i].numpy()
        )


def test_a_classifier_gives_its_best_classes(classifier, pictures):
    records = run(classifier, pictures, top_k=3)
    for record in records:
        scores = [c['score'] for c in record['classes']]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        assert [c['category'] for c in record['classes']] == [
            ('ant', 'bee', 'cat', 'dog')[c['label']] for c in record['classes']
        ]
    assert len({r['classes'][0]['score'] for r in records}) > 1


def test_a_deployed_classifier_gives_what_mmpretrain_gives(classifier, pictures):
    from mmpretrain.apis import ImageClassificationInferencer

    predictor = Predictor(classifier.config, classifier.checkpoint, device='cpu', top_k=4)
    assert predictor.loaded.model.backbone.deployed
    inferencer = ImageClassificationInferencer(
        classifier.cfg, pretrained=str(classifier.checkpoint), device='cpu'
    )
    paths = [pictures / 'a.jpg', pictures / 'b.png']
    for record, theirs in zip(
        predictor(paths), inferencer([str(p) for p in paths], batch_size=1), strict=True
    ):
        ours = {c['label']: c['score'] for c in record['classes']}
        np.testing.assert_allclose([ours[i] for i in range(4)], theirs['pred_scores'], atol=1e-5)


def test_top_k_may_exceed_the_classes(classifier, pictures):
    (record,) = run(classifier, pictures / 'a.jpg', top_k=99)
    assert len(record['classes']) == 4
    assert sum(c['score'] for c in record['classes']) == pytest.approx(1, abs=1e-5)


def test_names_come_from_the_checkpoint_then_the_config(tmp_path):
    text = f"""
_base_ = '{CONFIGS}/cls/patnet_t0_in1k.py'
model = dict(
    backbone=dict(arch={TINY}), neck=dict(in_channels=40), head=dict(num_classes=2)
)
"""
    unnamed = save_model(tmp_path / 'unnamed', text, None)
    # ImageNet's 1000 names are those of the config's data set, and not the model's.
    with pytest.raises(UserError, match=r'names 1000 classes and the model has 2.*--classes'):
        Predictor(unnamed.config, unnamed.checkpoint, device='cpu')
    given = Predictor(unnamed.config, unnamed.checkpoint, device='cpu', classes=['yes', 'no'])
    assert given.classes == ('yes', 'no')
    with pytest.raises(UserError, match='--classes names 3 classes and the model has 2'):
        Predictor(unnamed.config, unnamed.checkpoint, device='cpu', classes=['a', 'b', 'c'])
    own = "test_dataloader = dict(dataset=dict(metainfo=dict(classes=['p', 'q'])))\n"
    named = save_model(tmp_path / 'named', text + own, None)
    predictor = Predictor(named.config, named.checkpoint, device='cpu')
    assert (predictor.classes, predictor.loaded.source) == (('p', 'q'), 'the config')


def damage(state, how):
    if how == 'missing':
        del state['rpn_head.rpn_cls.bias']
    elif how == 'left over':
        state['rpn_head.other.weight'] = torch.zeros(1)
    else:
        state['rpn_head.rpn_cls.bias'] = torch.zeros(5)
    return state


@pytest.mark.parametrize('how', ['missing', 'left over', 'another shape'])
def test_a_checkpoint_of_another_model_is_refused(how, detector, tmp_path):
    state = damage(dict(detector.model.state_dict()), how)
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    with pytest.raises(UserError, match=r'is not a checkpoint of this model.*rpn_head'):
        Predictor(detector.config, tmp_path / 'other.pth', device='cpu')


def test_a_checkpoint_with_code_in_it_is_refused(detector, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / 'touched'), 'w'))

    torch.save(dict(state_dict={}, meta=Evil()), tmp_path / 'evil.pth')
    with pytest.raises(UserError, match='was refused'):
        Predictor(detector.config, tmp_path / 'evil.pth', device='cpu')
    assert not (tmp_path / 'touched').exists()


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(device='cuda:99'), '--device cuda:99'),
        (dict(device='toaster'), '--device toaster'),
        (dict(batch_size=0), 'batch_size=0'),
        (dict(top_k=0), 'top_k=0'),
    ],
)
def test_options_that_cannot_be(options, text, detector):
    with pytest.raises(UserError, match=text):
        Predictor(detector.config, detector.checkpoint, **options)


def test_a_line_of_pixels_is_named_and_the_others_are_done(detector, pictures):
    Image.new('RGB', (900, 1)).save(pictures / 'line.png')
    records = run(detector, pictures)
    assert [r['file'] for r in records if 'error' in r] == ['line.png']
    text = r'^900 x 1 pixels cannot be resized as the model needs them \('
    assert re.search(text, records[2]['error'])
    with pytest.raises(UserError, match=text):
        Predictor(detector.config, detector.checkpoint, device='cpu').find(
            np.zeros((1, 900, 3), np.uint8)
        )


def test_a_backbone_in_bfloat16_gives_nearly_the_same_scores(detector, pictures):
    wanted, found = (run(detector, pictures, dtype=dtype) for dtype in (None, 'bfloat16'))
    scores = [
        np.array([[i['score'] for i in r['instances'][:20]] for r in records])
        for records in (wanted, found)
    ]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.01


def test_a_dtype_that_is_none_or_not_the_backbones(classifier):
    with pytest.raises(UserError, match=r"dtype 'int8'; expected one of float32, bfloat16"):
        Predictor(classifier.config, classifier.checkpoint, device='cpu', dtype='int8')
    Predictor(classifier.config, classifier.checkpoint, device='cpu', dtype='float32')
    with pytest.raises(UserError, match=r'--dtype bfloat16: PATNet computes in float32 only'):
        Predictor(classifier.config, classifier.checkpoint, device='cpu', dtype='bfloat16')


def test_a_checkpoint_that_has_an_address(detector, pictures, monkeypatch):
    asked = []

    def fetch(url, *args, **kwargs):
        asked.append(url)
        return torch.load(detector.checkpoint, weights_only=True)

    monkeypatch.setattr('mmengine.runner.checkpoint.load_url', fetch)
    address = 'https://example.org/models/detector.pth'
    records = predict(detector.config, address, pictures, device='cpu')
    assert asked == [address]
    assert records == run(detector, pictures)


def test_two_classes_of_one_name_are_refused(classifier):
    """In all that is written they would be one class."""
    with pytest.raises(UserError, match='--classes names bee more than once; give every class'):
        Predictor(
            classifier.config,
            classifier.checkpoint,
            device='cpu',
            classes=['ant', 'bee', 'cat', 'bee'],
        )
