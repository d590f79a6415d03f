"""``selnext-mm export`` of whole detectors: the file beside the graph, and the command."""

import copy
import itertools
import json
import os
import re
import shutil

import numpy as np
import pytest
import torch
from filelock import FileLock

from selnext_mm.cli import export as command
from selnext_mm.cli import predict as predict_command
from selnext_mm.errors import UserError
from selnext_mm.export.detection import writer
from selnext_mm.export.detection.check import Agreement
from selnext_mm.export.detection.graph import DetectorGraph
from selnext_mm.inference import predict
from selnext_mm.runtime import Detector, open_model
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


def call(saved, out, *more):
    arguments = [str(saved.config), str(saved.checkpoint), '--to', 'onnx', '--out', str(out)]
    return command.main([*arguments, *more])


@pytest.fixture(scope='session')
def exported(tmp_path_factory):
    """A small Mask R-CNN, and the file that the command wrote of it, once for all processes."""
    root = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ:
        root = root.parent
    saved = save_detector(tmp_path_factory.mktemp('mask_rcnn'), 'mask_rcnn')
    saved.file = root / 'mask_rcnn.onnx'
    with FileLock(root / 'mask_rcnn.lock'):
        if not saved.file.exists():
            assert call(saved, saved.file) == 0
    return saved


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
        (['--int8'], '--int8 needs --calibrate IMAGES'),
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


def item(label=0, score=0.5, bbox=(0, 0, 10, 10)):
    return dict(label=label, score=score, bbox=list(bbox))


@pytest.mark.parametrize(
    ('found', 'unmatched'),
    [
        ([item()], 0),
        ([item(score=0.50009)], 0),
        ([item(score=0.5002)], 2),
        ([item(label=1)], 2),
        ([item(bbox=(0, 0, 10, 9.8))], 2),
        ([item(), item()], 1),
        ([item(), item(score=0.05001)], 0),  # at the threshold a rounding decides
        ([], 1),
    ],
)
def test_agreement_pairs_objects(found, unmatched):
    agreement = Agreement()
    agreement.add([item()], found, 1e-4, 0.05, 100)
    assert agreement.unmatched == unmatched
    assert agreement.holds == (not unmatched)


@pytest.mark.parametrize(
    ('found', 'limit', 'ties', 'unmatched'),
    [
        ([], 100, 0, 1),
        ([item(label=1, score=0.50005)], 1, 2, 0),  # both lists are full and end there
        ([item(label=1, score=0.4)], 1, 1, 1),  # a list that ends with 0.4 would have had 0.5
        ([item(label=1, score=0.6)], 2, 0, 2),  # there was a place for it
    ],
)
def test_what_the_other_list_may_have_cut_off_is_a_tie(found, limit, ties, unmatched):
    agreement = Agreement()
    agreement.add([item()], found, 1e-4, 0.05, limit)
    assert (agreement.ties, agreement.unmatched) == (ties, unmatched)


@pytest.mark.parametrize(
    ('wanted', 'found', 'others', 'ties'),
    [
        ([item()], [], [[item()], []], 1),  # moved a little, the model lacks it, too
        ([item()], [], [[item()], [item()]], 0),  # it has it however it is moved
        ([], [item()], [[], [item()]], 1),
        ([], [item()], [[], [item(score=0.6)]], 0),  # another object is no proof
    ],
)
def test_what_the_model_itself_decides_either_way_is_a_tie(wanted, found, others, ties):
    agreement = Agreement()
    agreement.add(wanted, found, 1e-4, 0.05, 100, others)
    assert (agreement.ties, agreement.unmatched) == (ties, 1 - ties)
    assert agreement.holds == bool(ties)


def test_a_tie_of_the_suppression_is_proven_by_the_model(exported, pictures):
    """A threshold that is the IoU of two boxes to the last bit decides either way."""
    from selnext_mm.export.detection.ties import answers, suppressions
    from selnext_mm.inference import Predictor

    predictor = Predictor(exported.config, exported.checkpoint, device='cpu')
    path = next(p for p in sorted(pictures.rglob('*')) if p.is_file())
    configs = suppressions(predictor.loaded.model)
    assert [c['iou_threshold'] for c in configs] == [0.7, 0.5]
    configs[1]['iou_threshold'] = 0.999
    boxes = torch.tensor([i['bbox'] for i in predictor([path])[0]['instances'] if not i['label']])
    ious = mask_iou(boxes.numpy())
    # The largest of all: no other pair decides about these two.
    configs[1]['iou_threshold'] = tie = float(ious[ious < 0.9985].max())
    lower, higher = itertools.islice(answers(predictor, path), 2)
    assert [i['score'] for i in lower] != [i['score'] for i in higher], tie
    assert configs[1]['iou_threshold'] == tie, 'moved back'


def mask_iou(boxes):
    from pycocotools import mask as mask_utils

    return np.asarray(mask_utils.iou(boxes, boxes, [0] * len(boxes)))


def test_agreement_takes_the_worst_mask():
    from pycocotools import mask as mask_utils

    def with_mask(rows):
        pixels = np.zeros((10, 10), np.uint8, order='F')
        pixels[:rows] = 1
        return item() | dict(segmentation=mask_utils.encode(pixels))

    agreement = Agreement()
    agreement.add([with_mask(10)], [with_mask(9)], 1e-4, 0.05, 100)
    assert agreement.mask_iou == pytest.approx(0.9)
    assert not agreement.holds


def test_masks_are_pasted_as_mmdet_pastes_them():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    from selnext_mm.runtime.masks import paste

    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(6, 28, 28, generator=generator)
    boxes = torch.tensor(
        [[2, 3, 30, 20], [0, 0, 40, 30], [5.3, 6.1, 5.9, 29.9], [-4, -4, 8, 9], [39, 29, 40, 30],
         [10, 10, 10, 20]], dtype=torch.float32)  # fmt: skip
    for mask, box in zip(masks, boxes, strict=True):
        # One at a time and within the box, as mmdet does it on a CPU.
        part, place = _do_paste_mask(mask[None, None], box[None], 30, 40, skip_empty=True)
        wanted = np.zeros((30, 40), dtype=bool)
        wanted[place] = part[0].numpy() >= 0.5
        got = paste(mask.numpy(), box.numpy(), 30, 40, 0.5)
        assert (got != wanted).mean() < 2e-3, box
