"""Models over slices: PyTorch's, and ``tools/test.py --slice`` beside ``predict --slice``."""

import json

import numpy as np
import pytest
from PIL import Image

from selnext_mm import Session
from selnext_mm.cli import predict as command
from selnext_mm.cli import test as tool
from selnext_mm.errors import UserError
from selnext_mm.inference import Predictor, loading
from selnext_mm.inference.images import list_images
from selnext_mm.inference.sliced import Sliced
from selnext_mm.slicing import Slicing
from tests.export.small_detectors import save_detector

pytest.importorskip('mmdet')
SLICING = Slicing(64, 0.25, batch=3)


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp('small'), 'mask_rcnn')


@pytest.fixture(scope='module')
def predictor(detector):
    return Predictor(detector.config, detector.checkpoint, device='cpu')


def test_files_are_looked_at_in_order_and_broken_ones_named(predictor, broken):
    records, sizes = [], []

    def on_image(record, pixels):
        records.append(record)
        sizes.append(None if pixels is None else pixels.shape[:2])

    model = Sliced(predictor, SLICING)
    model.run(list_images(broken), on_image)
    assert [r['index'] for r in records] == list(range(len(records)))
    errors = {r['file']: r['error'] for r in records if 'error' in r}
    assert set(errors) == {'cut.jpg', 'empty.png', 'text.jpg'}
    at = next(i for i, r in enumerate(records) if r['file'] == 'b.png')
    assert sizes[at] == (120, 90)
    pixels = np.asarray(Image.open(broken / 'b.png'))[..., ::-1]
    assert records[at]['instances'] == model.find(pixels)
    assert all(i['segmentation']['size'] == [120, 90] for i in records[at]['instances'])
    assert (model.classes, model.device) == (predictor.classes, predictor.device)


def test_the_test_tool_finds_in_slices_what_predict_finds(
    detector, shapes_root, tmp_path, monkeypatch
):
    # Another layout sums in another order, which moves scores by more than is allowed below.
    monkeypatch.setattr(loading, 'speed_up_heads', lambda model: False)
    out, slices = tmp_path / 'r.json', ['--slice', '64', '--overlap', '0.25']
    line = [detector.config, detector.checkpoint, '--data-root', shapes_root, '--out', out]
    line += ['--work-dir', tmp_path / 'work', *slices, '--cfg-options']
    line += ['test_dataloader.num_workers=0', 'test_dataloader.dataset.indices=1']
    assert tool.main(list(map(str, line))) == 0
    metrics = json.loads(out.read_text())['metrics']
    assert {'coco/bbox_mAP', 'coco/segm_mAP'} <= metrics.keys()
    boxes, masks = (json.loads(out.with_suffix(f'.{k}.json').read_text()) for k in ('bbox', 'segm'))
    content = json.loads((shapes_root / 'annotations' / 'instances_val2017.json').read_text())
    names = {i['id']: i['file_name'] for i in content['images']}
    numbers = list(dict.fromkeys(b['image_id'] for b in boxes))
    paths = [str(shapes_root / 'val2017' / names[n]) for n in numbers]
    line = [detector.config, detector.checkpoint, *paths, '--out', tmp_path / 'p', '--no-pictures']
    line += ['--ann', shapes_root / 'annotations' / 'instances_val2017.json', '--device', 'cpu']
    line += [*slices, '--batch-size', '4']
    assert command.main(list(map(str, line))) == 0
    found = json.loads((tmp_path / 'p' / 'results.json').read_text())
    assert len(found) == len(boxes) == len(masks) > 20
    for a, b, m in zip(found, boxes, masks, strict=True):
        assert (a['image_id'], a['category_id']) == (b['image_id'], b['category_id'])
        assert a['score'] == pytest.approx(b['score'], abs=1e-6)
        assert a['bbox'] == pytest.approx(b['bbox'], abs=1e-3)
        assert a['segmentation'] == m['segmentation']


@pytest.mark.parametrize(
    ('more', 'text'),
    [
        (dict(tta=True), '--slice 64 and --tta'),
        (dict(show_dir='shown'), '--slice 64 with --show-dir: the images are written by'),
        (dict(out='r.pkl'), r'--slice 64 with --out r.pkl: name FILE\.json'),
    ],
)
def test_what_does_not_go_with_slices(more, text, detector, shapes_root, tmp_path):
    session = Session(detector.config, shapes_root, tmp_path / 'work')
    with pytest.raises(UserError, match=text):
        session.test(detector.checkpoint, slicing=SLICING, **more)
    assert not (tmp_path / 'work').exists()


def test_a_classifier_has_no_slices(classifier, pictures, tmp_path):
    pytest.importorskip('mmpretrain')
    line = [classifier.config, classifier.checkpoint, pictures, '--out', tmp_path / 'p']
    with pytest.raises(UserError, match='--slice 64: a classifier finds no objects'):
        command.main([*map(str, line), '--slice', '64', '--device', 'cpu'])
    assert not (tmp_path / 'p').exists()
    session = Session(classifier.config, work_dir=tmp_path / 'work', check_data=False)
    from selnext_mm.engine.sliced_test import use_slices

    with pytest.raises(UserError, match=r'--slice 64: .* is no detector of mmdet'):
        use_slices(session.cfg, SLICING)
