"""The graph of every kind of detector, and its pieces, against mmdet's own post-processing."""

import numpy as np
import pytest
import torch

from selnext_mm.datasets.shape_scene import draw_scene
from selnext_mm.errors import UserError
from selnext_mm.export.detection.boxes import EMPTY, Anchors, Decoder, Suppression, best
from selnext_mm.export.detection.check import Agreement
from selnext_mm.export.detection.graph import DetectorGraph
from selnext_mm.export.detection.roi_features import RoIFeatures
from selnext_mm.inference.predictor import detections
from selnext_mm.runtime.masks import paste, run_lengths
from tests.export.small_detectors import KINDS, save_detector

mmdet = pytest.importorskip('mmdet')
# Sides that are and are not multiples of the strides; sizes of the images before resizing.
SIZES = (((96, 128), (96, 128)), ((101, 75), (202, 90)), ((64, 160), (33, 80)))


def scenes(height, width, count=2):
    """(count, height, width, 3) uint8, BGR."""
    pictures = [draw_scene(0, 'val', i, max(height, width)).image for i in range(count)]
    return np.stack([p[:height, :width, ::-1] for p in pictures])


def mmdets(model, images, size):
    """What mmdet's own ``test_step`` finds, as plain dicts per image."""
    from mmdet.structures import DetDataSample

    height, width = images.shape[1:3]
    meta = dict(
        img_shape=(height, width),
        ori_shape=size,
        scale_factor=(width / size[1], height / size[0]),
    )
    inputs = [torch.from_numpy(i.copy()).permute(2, 0, 1) for i in images]
    samples = [DetDataSample(metainfo=meta) for _ in inputs]
    with torch.no_grad():
        found = model.test_step(dict(inputs=inputs, data_samples=samples))
    return [detections(sample) for sample in found]


def plain(outputs, size, threshold=0.5, count=2):
    """The outputs of a graph or file, as plain dicts per image."""
    result = [[] for _ in range(count)]
    for i, (box, score, label, image) in enumerate(
        zip(*(outputs[k] for k in ('boxes', 'scores', 'labels', 'image_index')), strict=True)
    ):
        x, y, right, bottom = map(float, box)
        item = dict(label=int(label), score=float(score), bbox=[x, y, right - x, bottom - y])
        if 'masks' in outputs:
            item['segmentation'] = run_lengths(paste(outputs['masks'][i], box, *size, threshold))
        result[int(image)].append(item)
    return result


def run(graph, images, size):
    rgb = torch.from_numpy(np.ascontiguousarray(images[..., ::-1]))
    with torch.no_grad():
        outputs = graph(rgb, torch.tensor([size] * len(rgb)))
    return dict(zip(graph.outputs, (o.numpy() for o in outputs), strict=True))


@pytest.mark.parametrize('kind', KINDS)
def test_the_graph_finds_what_mmdet_finds(kind, tmp_path):
    model = save_detector(tmp_path, kind).model
    graph = DetectorGraph(model).eval()
    assert ('masks' in graph.outputs) == ('mask' in kind)
    for shape, size in SIZES:
        images, agreement = scenes(*shape), Agreement()
        found = plain(run(graph, images, size), size)
        for wanted, ours in zip(mmdets(model, images, size), found, strict=True):
            assert len(wanted) == len(ours) > 0
            assert ours == sorted(ours, key=lambda i: -i['score']), 'best first'
            agreement.add(wanted, ours, 1e-5, 0.0, 0)
        assert agreement.unmatched == 0, (shape, agreement)
        assert agreement.iou > 0.999
        if 'mask' in kind:
            assert agreement.mask_iou > 0.99


def test_anchors_and_decoding_are_mmdets():
    from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder

    generator = AnchorGenerator(strides=[8, 16], ratios=[0.5, 1.0, 2.0], scales=[4, 5])
    anchors = Anchors(generator, 'here')
    maps = [(5, 7), (3, 4)]
    wanted = generator.grid_priors(maps, device='cpu')
    ours = [anchors(i, *size) for i, size in enumerate(maps)]
    for a, b in zip(ours, wanted, strict=True):
        assert torch.equal(a, b)
    coder = DeltaXYWHBBoxCoder(target_means=[0.1, 0, 0, 0.2], target_stds=[0.1, 0.1, 0.2, 0.2])
    deltas = 20 * torch.randn(len(ours[0]), 4)  # some growths are cut off
    got = Decoder(coder, 'here')(ours[0], deltas, 40, 56)
    torch.testing.assert_close(got, coder.decode(ours[0], deltas, max_shape=(40, 56)))
    assert got[:, 2:].amax(0).tolist() == [56, 40]


@pytest.mark.parametrize('class_agnostic', [False, True])
def test_suppression_is_mmcvs(class_agnostic):
    from mmcv.ops import batched_nms

    generator = torch.Generator().manual_seed(0)
    corner = 50 * torch.rand(2, 300, 2, generator=generator)
    boxes = torch.cat([corner, corner + 5 + 30 * torch.rand(2, 300, 2, generator=generator)], -1)
    scores = torch.rand(2, 300, generator=generator)
    group = torch.randint(0, 3, (2, 300), generator=generator)
    scores[1, 100:] = EMPTY
    cfg = dict(type='nms', iou_threshold=0.5, class_agnostic=class_agnostic)
    values, index = Suppression.of(cfg, 40, 'here')(boxes, scores, group)
    assert values.shape == index.shape == (2, 40)
    for row in range(2):
        there = scores[row] >= 0
        places = torch.where(there)[0]
        kept = batched_nms(boxes[row][there], scores[row][there], group[row][there], dict(cfg))[1]
        wanted = places[kept[:40]]
        found = index[row][values[row] >= 0]
        assert 10 < len(wanted) == len(found)
        assert torch.equal(found, wanted)


def test_a_box_looks_at_the_map_of_its_size():
    from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor

    layer = dict(type='RoIAlign', output_size=7, sampling_ratio=0)
    extractor = SingleRoIExtractor(
        layer, out_channels=4, featmap_strides=[4, 8, 16], finest_scale=8
    )
    maps = [torch.randn(2, 4, 64 // 2**i, 64 // 2**i) for i in range(3)]
    sides = torch.tensor([3, 7.99, 8, 15.9, 16, 31.9, 32, 33, 64, 200])  # powers of two: borders
    rois = torch.stack([sides * 0, sides * 0 + 5, sides * 0 + 9, 5 + sides, 9 + sides], 1)
    rois[::2, 0] = 1
    levels = extractor.map_roi_levels(rois, 3)
    assert set(levels.tolist()) == {0, 1, 2}
    got = RoIFeatures(extractor, 'here')(maps, rois)
    torch.testing.assert_close(got, extractor(maps, rois))


def test_the_best_of_fewer_than_asked_for():
    values, index = best(torch.tensor([[0.1, 0.9]]), 4)
    assert values.tolist()[0] == pytest.approx([0.9, 0.1, EMPTY, EMPTY])
    assert index.tolist() == [[1, 0, 1, 1]]


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (lambda m: m.roi_head.test_cfg.nms.update(type='soft_nms'), r'rcnn\.nms\.type=soft_nms'),
        (lambda m: m.rpn_head.test_cfg.nms.update(min_score=1), r'rpn\.nms\.min_score'),
        (lambda m: m.roi_head.test_cfg.update(max_per_img=-1), r'rcnn\.max_per_img=-1'),
        (lambda m: setattr(m.rpn_head.bbox_coder, 'add_ctr_clamp', True), 'add_ctr_clamp=True'),
        (lambda m: setattr(m.roi_head.mask_head, 'upsample_method', 'carafe'), 'upsample_cfg'),
        (
            lambda m: setattr(m.roi_head.bbox_roi_extractor.roi_layers[0], 'aligned', False),
            r'roi_layer\.aligned=False',
        ),
        (lambda m: setattr(m, 'rpn_head', None), 'a detector without rpn_head'),
        (
            lambda m: setattr(m.roi_head, 'bbox_head', torch.nn.Linear(1, 1)),
            r'roi_head\.bbox_head is a Linear',
        ),
    ],
)
def test_what_is_not_written_is_named(change, text, tmp_path_factory):
    model = _mask_rcnn(tmp_path_factory)
    change(model)
    with pytest.raises(UserError, match=f'{text}.*--part backbone-neck'):
        DetectorGraph(model)


def _mask_rcnn(tmp_path_factory):
    return save_detector(tmp_path_factory.mktemp('mask_rcnn'), 'mask_rcnn').model
