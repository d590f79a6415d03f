"""``selnext-mm export`` of whole detectors: the file beside the graph, and the command."""

import copy
import json
import re
import shutil

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from selnext_mm.cli import predict as predict_command
from selnext_mm.errors import UserError
from selnext_mm.export.detection import writer
from selnext_mm.export.detection.check import Agreement
from selnext_mm.export.detection.graph import DetectorGraph
from selnext_mm.inference import predict
from selnext_mm.runtime import Detector, open_model
from tests.export.detection.conftest import call
from tests.export.detection.test_post_processing import plain, run, scenes
from tests.export.small_detectors import save_detector

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
pytest.importorskip('mmdet')


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['retinanet', 'faster_rcnn', 'cascade_mask_rcnn'])
def test_onnxruntime_finds_what_the_graph_finds(kind, tmp_path):
    graph = DetectorGraph(save_detector(tmp_path, kind).model).eval()
    path = tmp_path / 'd.onnx'
    writer.write_detector(graph, path, {'note': 'kept'})
    content = onnx.load(path)
    assert {node.domain for node in content.graph.node} == {''}, 'standard operators only'
    assert not content.functions
    assert next(o.version for o in content.opset_import if not o.domain) >= 17
    open_sides = [
        [d.dim_param or d.dim_value for d in i.type.tensor_type.shape.dim]
        for i in content.graph.input
    ]
    assert open_sides == [['batch', 'height', 'width', 3], ['batch', 2]]
    assert tuple(o.name for o in content.graph.output) == graph.outputs
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    for shape, count in (((96, 128), 2), ((101, 75), 1), ((64, 160), 3)):
        images, size, agreement = scenes(*shape, count), (shape[0] * 2, shape[1]), Agreement()
        wanted = plain(run(graph, images, size), size, count=count)
        inputs = dict(
            images=np.ascontiguousarray(images[..., ::-1]),
            sizes=np.array([size] * count, dtype=np.int64),
        )
        outputs = dict(zip(graph.outputs, session.run(None, inputs), strict=True))
        for a, b in zip(wanted, plain(outputs, size, count=count), strict=True):
            assert a, 'nothing found shows nothing'
            agreement.add(a, b, 1e-4, 0.05, 100)
        assert agreement.holds, (shape, agreement)


def test_the_file_says_what_it_needs(exported):
    detector = open_model(exported.file)
    assert isinstance(detector, Detector)
    meta = detector.metadata
    assert detector.classes == ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
    assert (meta['score_threshold'], meta['max_detections']) == ('0.05', '100')
    assert (meta['nms_iou_threshold'], meta['mask_threshold']) == ('0.5', '0.5')
    assert json.loads(meta['category_ids']) == [1, 2, 3, 4, 5, 6]
    assert '/' not in meta['category_ids_from']
    assert len(meta['checkpoint_sha256']) == 64


def test_predict_gives_the_same_from_the_file(exported, pictures, tmp_path):
    files, names = {}, ('torch', 'file')
    for name, first in zip(
        names, ([exported.config, exported.checkpoint], [exported.file]), strict=True
    ):
        line = [*first, pictures, '--out', tmp_path / name]
        assert predict_command.main(list(map(str, line))) == 0
        files[name] = sorted(p.relative_to(tmp_path / name) for p in (tmp_path / name).rglob('*'))
    assert files['torch'] == files['file']
    contents = [json.loads((tmp_path / n / 'predictions.json').read_text()) for n in names]
    assert contents[0]['images'] == contents[1]['images']
    assert contents[0]['categories'] == contents[1]['categories']
    boxes = [[a['bbox'] for a in c['annotations']] for c in contents]
    assert len(boxes[0]) == len(boxes[1]) > 10
    same = np.isclose(*map(np.array, boxes), atol=1e-2).all(1)
    assert same.mean() > 0.98
    scores = [[a['score'] for a in c['annotations']] for c in contents]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    masks = [[a['segmentation'] for a in c['annotations']] for c in contents]
    ious = [mask_utils.iou([a], [b], [0])[0, 0] for a, b in zip(*masks, strict=True)]
    assert np.mean(np.array(ious) >= 0.99) > 0.98


def test_arrays_files_and_broken_files(exported, broken):
    from PIL import Image

    detector = Detector(exported.file)
    pixels = np.asarray(Image.open(broken / 'b.png'))[..., ::-1]
    (from_array,), records = detector(pixels), detector(broken)
    by_name = {r['file']: r for r in records}
    assert from_array['instances'] == by_name['b.png']['instances']
    wanted = {r['file']: r.get('error') for r in predict(
        exported.config, exported.checkpoint, broken, device='cpu')}  # fmt: skip
    assert {r['file']: r.get('error') for r in records} == wanted
    with pytest.raises(UserError, match=r'an array of float64 \(3,\) is not an image'):
        detector(np.zeros(3))


def test_a_file_that_finds_something_else_is_not_kept(exported, tmp_path, monkeypatch, capsys):
    def other_scores(graph, path, metadata, opset=None):
        """The sound file, but with scores that are a thousandth too low."""
        content = onnx.load(exported.file)
        for node in content.graph.node:
            for names in (node.input, node.output):
                names[:] = ['former' if name == 'scores' else name for name in names]
        share = onnx.numpy_helper.from_array(np.float32(0.999), 'share')
        content.graph.initializer.append(share)
        content.graph.node.append(onnx.helper.make_node('Mul', ['former', 'share'], ['scores']))
        onnx.save(content, path)

    monkeypatch.setattr(writer, 'write_detector', other_scores)
    out = tmp_path / 'new' / 'd.onnx'
    assert call(exported, out) == 1
    text = capsys.readouterr().out
    assert 'finds something else' in text
    assert re.search(r'without a partner at 100%: \d+ objects of 0.png', text)
    assert not list(out.parent.iterdir())
    monkeypatch.setattr(
        writer, 'write_detector', lambda graph, path, *rest: shutil.copy(exported.file, path)
    )
    assert call(exported, out) == 0
    assert out.read_bytes() == exported.file.read_bytes()


def test_thresholds_go_into_the_file(exported, pictures, tmp_path, monkeypatch, capsys):
    def same(graph, path, metadata, opset=None):
        content = onnx.load(exported.file)
        onnx.helper.set_model_props(content, metadata)
        onnx.save(content, path)

    monkeypatch.setattr(writer, 'write_detector', same)
    best = tmp_path / 'best_f1.json'
    best.write_text(json.dumps(dict(thresholds=dict(circle=0.35, ring=0.12, star=None))))
    out = tmp_path / 'd.onnx'
    assert call(exported, out, '--thresholds', str(best)) == 0
    assert f'lowest scores of 2 classes from {best}, 0.3 for square, triangle' in (
        capsys.readouterr().out
    )
    thresholds = (0.35, 0.3, 0.3, 0.3, 0.12, 0.3)
    assert (Detector(exported.file).thresholds, Detector(out).thresholds) == (None, thresholds)

    def drawn(*more):
        line = [out, pictures, '--out', tmp_path / 'p', '--force', '--no-pictures', *more]
        assert predict_command.main(list(map(str, line))) == 0
        return capsys.readouterr().out

    found = [i for r in Detector(out)(pictures) for i in r['instances']]
    count = sum(i['score'] >= thresholds[i['label']] for i in found)
    words = f'the threshold of its class (0.12 to 0.35, from {out})'
    assert f'{len(found)} objects, {count} with score >= {words}\n' in drawn()
    count = sum(i['score'] >= 0.2 for i in found)
    assert f'{len(found)} objects, {count} with score >= 0.2\n' in drawn('--score-thr', '0.2')


def test_the_file_for_openvino_finds_the_same(exported, pictures, tmp_path, monkeypatch):
    pytest.importorskip('openvino', reason="needs pip install 'selnext_mm[openvino]'")
    monkeypatch.setattr(
        writer, 'write_detector', lambda graph, path, *rest: shutil.copy(exported.file, path)
    )
    out = tmp_path / 'new' / 'd.xml'
    assert call(exported, out, '--to', 'openvino') == 0
    assert sorted(p.name for p in out.parent.iterdir()) == ['d.bin', 'd.xml']
    detectors = Detector(exported.file), Detector(out)
    assert detectors[1].session.name == 'OpenVINO'
    assert detectors[0].metadata.keys() <= detectors[1].metadata.keys()
    agreement = Agreement()
    for a, b in zip(*(detector(pictures) for detector in detectors), strict=True):
        agreement.add(a['instances'], b['instances'], 1e-4, 0.05, 100)
    assert agreement.holds, agreement
    assert agreement.objects > 10


def pseudo_labels(exported, folder, path):
    """A COCO file of ``folder``: what PyTorch finds, moved a little and with gaps."""
    records = predict(exported.config, exported.checkpoint, folder, device='cpu')
    images, labels = [], []
    for number, record in enumerate(records):
        size = {k: record[k] for k in ('width', 'height')}
        images.append(dict(id=number, file_name=record['file'], **size))
        for i, found in enumerate(record['instances'][::2]):
            x, y, w, h = found['bbox']
            if w < 4 or h < 4:
                continue
            part = dict(bbox=[x + w * i % 7 / 40, y, w, h], area=w * h, iscrowd=0)
            labels.append(
                dict(
                    id=len(labels) + 1,
                    image_id=number,
                    category_id=found['label'] + 1,
                    segmentation=found['segmentation'],
                    **part,
                )
            )
    names = ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(names)]
    content = dict(images=images, annotations=labels, categories=categories)
    path.write_text(json.dumps(content))
    return content


def compare(exported, detector, folder, labels):
    from selnext_mm.export.detection.coco_ap import compare_ap
    from selnext_mm.inference import Predictor

    predictor = Predictor(exported.config, exported.checkpoint, device='cpu')
    return compare_ap(predictor, detector, folder, labels)


def test_ap_of_the_file_is_that_of_pytorch(exported, pictures, tmp_path):
    """Labels made from the model's own answers, so that random weights have an AP to lose."""
    labels = tmp_path / 'labels.json'
    content = pseudo_labels(exported, pictures, labels)
    detector = Detector(exported.file)
    scores = compare(exported, detector, pictures, labels)
    assert [s.kind for s in scores] == ['bbox', 'segm']
    assert all(s.equal and 10 < s.torch < 95 for s in scores), scores

    class Worse:
        """The file with its classes turned over."""

        metadata = detector.metadata

        def __call__(self, images):
            records = detector(images)
            for item in (i for r in records for i in r['instances']):
                item['category'] = detector.classes[(item['label'] + 1) % 6]
            return records

    assert not any(s.equal for s in compare(exported, Worse(), pictures, labels))
    # What pycocotools stops at, and what it counts wrongly: the annotation id 0.
    odd = copy.deepcopy(content)
    for place, annotation in enumerate(odd['annotations']):
        annotation['id'] = place
        del annotation['iscrowd']
    labels.write_text(json.dumps(odd), encoding='utf-8-sig')
    assert compare(exported, detector, pictures, labels) == scores
    content['annotations'] = content['annotations'][:1]
    content['annotations'][0] |= dict(bbox=[0, 0, 1, 1], area=1)
    labels.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r'has a bbox AP of 0 on the .* says nothing'):
        compare(exported, detector, pictures, labels)


def test_int8_is_kept_where_little_ap_is_lost(exported, pictures, tmp_path, monkeypatch, capsys):
    """Random weights lose a lot, which shows both ends."""
    monkeypatch.setattr(
        writer, 'write_detector', lambda graph, path, *rest: shutil.copy(exported.file, path)
    )
    measured = tmp_path / 'measured'
    measured.mkdir()
    for name in ('a.jpg', 'b.png'):
        shutil.move(pictures / name, measured / name)
    (measured / 'b.png').rename(pictures / 'b.png')  # one is for the ranges
    labels, out = tmp_path / 'labels.json', tmp_path / 'new' / 'd.onnx'
    pseudo_labels(exported, measured, labels)
    options = ['--int8', '--calibrate', pictures / 'b.png', '--check-images', measured]
    options = [*map(str, options), '--check-ann', str(labels)]
    assert call(exported, out, *options, '--max-loss', '99') == 0
    text = capsys.readouterr().out
    assert 'calibrated on 1 image: ' in text
    assert all(f'{kind} AP on {labels}: PyTorch ' in text for kind in ('bbox', 'segm'))
    assert 'lost (at most 99)' in text
    detector = Detector(out)
    assert detector.metadata == Detector(exported.file).metadata | dict(precision='int8')
    assert detector(measured)[0]['instances']
    assert out.stat().st_size < exported.file.stat().st_size
    assert call(exported, out, *options, '--max-loss', '0', '--force') == 1
    assert 'more is lost than --max-loss allows; nothing was written' in capsys.readouterr().out


@pytest.mark.realdata
def test_ap_on_real_pictures(exported, coco_root, tmp_path):
    folder = tmp_path / 'pictures'
    folder.mkdir()
    for path in sorted((coco_root / 'val2017').iterdir())[:8]:
        shutil.copy(path, folder)
    pseudo_labels(exported, folder, tmp_path / 'labels.json')
    scores = compare(exported, Detector(exported.file), folder, tmp_path / 'labels.json')
    assert all(s.equal and 10 < s.torch < 95 for s in scores), scores


@pytest.mark.parametrize(
    ('more', 'text'),
    [
        (['--check-ann', 'labels.json'], '--check-ann labels.json needs --check-images'),
        (['--normalize'], '--normalize has no meaning for a whole detector'),
        (['--check', '1x64x64'], 'name --check-images'),
        (['--check-images', 'gone.png'], 'gone.png: no such file'),
        (['--thresholds', 'gone.json'], '--thresholds gone.json: No such file'),
        (['--int8'], '--int8 needs labelled images; those of train_dataloader of .* cannot be'),
        (['--int8', '--check-images', 'd'], '--int8 needs --calibrate IMAGES'),
        (['--int8', '--calibrate', 'c'], '--int8 needs --check-images, labelled images'),
        (['--int8', '--calibrate', 'c', '--check-images', 'd'], 'of a detector needs --check-ann'),
        (['--calibrate', 'c'], '--calibrate needs --int8'),
        (['--max-loss', '1'], '--max-loss needs --int8'),
        (
            ['--int8', '--part', 'backbone', '--calibrate', 'c', '--check-images', 'd'],
            '--int8 is for whole models, not for --part backbone',
        ),
    ],
)
def test_options_that_a_detector_does_not_take(more, text, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(
        writer, 'write_detector', lambda graph, path, *rest: shutil.copy(exported.file, path)
    )
    with pytest.raises(UserError, match=text):
        call(exported, tmp_path / 'd.onnx', *more)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('more', 'text'),
    [
        (['--check-images', 'empty'], 'no images .*in empty'),
        (['--check-images', 'two', '--check-ann', 'one.json'], '1 of 2 images are not in one.json'),
        (
            ['--int8', '--calibrate', 'empty', '--check-images', 'one', '--check-ann', 'one.json'],
            'no images .*in empty',
        ),
        (
            ['--int8', '--calibrate', 'two', '--check-images', 'one', '--check-ann', 'one.json'],
            '1 image is in --calibrate and in --check-images',
        ),
    ],
)
def test_images_are_looked_at_before_the_graph_is_written(
    more, text, exported, pictures, tmp_path, monkeypatch
):
    """It was told after minutes."""
    monkeypatch.setattr(writer, 'write_detector', lambda *args: pytest.fail('it is written'))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    for folder, names in (('one', ['b.png']), ('two', ['b.png', 'a.jpg'])):
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(pictures / name, folder)
    pseudo_labels(exported, 'one', tmp_path / 'one.json')
    with pytest.raises(UserError, match=text):
        call(exported, tmp_path / 'd.onnx', *more)
