"""``selnext-mm export`` of whole detectors: the file beside the graph, and the command."""

import json
import shutil

import numpy as np
import pytest
import torch

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


@pytest.mark.parametrize('kind', ['retinanet', 'cascade_mask_rcnn'])
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


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
    """A small Mask R-CNN, and the file that the command wrote of it."""
    saved = save_detector(tmp_path_factory.mktemp('mask_rcnn'), 'mask_rcnn')
    saved.file = saved.config.parent / 'd.onnx'
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
    with pytest.raises(UserError, match=r'an array of float64 \(3,\) is no picture'):
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
    assert 'finds something else' in capsys.readouterr().out
    assert not list(out.parent.iterdir())
    monkeypatch.setattr(
        writer, 'write_detector', lambda graph, path, *rest: shutil.copy(exported.file, path)
    )
    assert call(exported, out) == 0
    assert out.read_bytes() == exported.file.read_bytes()


@pytest.mark.parametrize(
    ('more', 'text'),
    [
        (['--normalize'], '--normalize has no meaning for a whole detector'),
        (['--check', '1x64x64'], 'name --check-images'),
        (['--check-images', 'gone.png'], 'gone.png: no such file'),
    ],
)
def test_options_that_a_detector_does_not_take(more, text, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(
        writer, 'write_detector', lambda graph, path, *rest: shutil.copy(exported.file, path)
    )
    with pytest.raises(UserError, match=text):
        call(exported, tmp_path / 'd.onnx', *more)
    assert not list(tmp_path.iterdir())


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
