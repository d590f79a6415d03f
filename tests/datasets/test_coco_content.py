"""COCO content in its one form, against pycocotools and mmdet on the same file."""

import copy
import json

import numpy as np
import pytest

from selnext_mm.datasets.check.masks import decoded
from selnext_mm.datasets.coco_api import use_one_reader
from selnext_mm.datasets.coco_content import flag, for_scoring, load_coco, normalise, number
from selnext_mm.errors import UserError
from selnext_mm.evaluation.coco_scores import evaluate
from tests.datasets.check.coco_samples import CLASSES, sound


def perfect(content):
    """The truth as predictions."""
    keys = ('image_id', 'category_id', 'bbox', 'segmentation')
    return [{k: a[k] for k in keys} | {'score': 0.9} for a in content['annotations']]


def from_zero(content):
    for place, a in enumerate(content['annotations']):
        a['id'] = place


def as_text(content):
    for place, a in enumerate(content['annotations']):
        a['id'] = f'uuid-{place}'
        a['image_id'] = f'i{a["image_id"]}'
        a['category_id'] = f'c{a["category_id"]}'
    for image in content['images']:
        image['id'] = f'i{image["id"]}'
    for category in content['categories']:
        category['id'] = f'c{category["id"]}'


def negative(content):
    for place, a in enumerate(content['annotations']):
        a['id'] = place - 3
        a['image_id'] = -a['image_id']
    for image in content['images']:
        image['id'] = -image['id']


def bare(content):
    for a in content['annotations']:
        del a['iscrowd'], a['area'], a['id']


def crowd_as_text(content):
    for a in content['annotations']:
        a['iscrowd'] = '0'


def numbers_as_text(content):
    for a in content['annotations']:
        a['bbox'] = list(map(str, a['bbox']))
        a['area'] = str(a['area'])
    for image in content['images']:
        image.update(width=str(image['width']), height=float(image['height']))


FORMS = [from_zero, as_text, negative, bare, crowd_as_text, numbers_as_text]


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('change', FORMS)
def test_a_perfect_prediction_scores_one_in_every_form(change, kind):
    content = sound()
    change(content)
    plain = copy.deepcopy(content)
    normalise(plain)
    before = json.dumps(content)
    scores = evaluate(content, perfect(plain), kind, list(CLASSES))
    assert scores.summary['AP'] == 1
    assert scores.summary['AR'] == 1
    assert json.dumps(content) == before, 'what the caller gave was changed'


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('fast', [False, True])
@pytest.mark.parametrize('change', FORMS)
def test_mmdets_metric_scores_one_in_every_form(change, fast, kind, tmp_path):
    """The file through mmdet's own classes, as a test of the runner goes."""
    torch = pytest.importorskip('torch')
    from pycocotools import mask as mask_utils

    coco_metric = pytest.importorskip('mmdet.evaluation.metrics.coco_metric')
    use_one_reader()
    content = sound()
    change(content)
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content), encoding='utf-16' if change is bare else 'utf-8-sig')
    before = path.read_bytes()
    cls = coco_metric.CocoMetric
    if fast:
        pytest.importorskip('faster_coco_eval')
        from selnext_mm.evaluation.faster_coco import metric_class

        cls = metric_class()
    metric = cls(ann_file=str(path), metric=kind)
    metric.dataset_meta = dict(classes=CLASSES)
    truth = metric._coco_api
    for image_id in truth.get_img_ids():
        anns = truth.load_anns(truth.get_ann_ids(img_ids=[image_id]))
        boxes = np.array([a['bbox'] for a in anns], float)
        boxes[:, 2:] += boxes[:, :2]
        ids = truth.get_cat_ids(cat_names=CLASSES)
        masks = [mask_utils.encode(np.asfortranarray(truth.annToMask(a))) for a in anns]
        metric.process(
            {},
            [
                dict(
                    img_id=image_id,
                    ori_shape=(80, 100),
                    pred_instances=dict(
                        bboxes=torch.tensor(boxes),
                        scores=torch.full((len(anns),), 0.9),
                        labels=torch.tensor([ids.index(a['category_id']) for a in anns]),
                        masks=masks,
                    ),
                )
            ],
        )
    assert metric.evaluate(size=3)[f'coco/{kind}_mAP'] == 1
    assert path.read_bytes() == before


@pytest.mark.parametrize('change', FORMS)
def test_mmdets_data_set_keeps_everything_in_every_form(change, tmp_path):
    datasets = pytest.importorskip('mmdet.datasets')
    use_one_reader()
    content = sound()
    change(content)
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    built = datasets.CocoDataset(
        ann_file=str(path), data_prefix=dict(img=''), metainfo=dict(classes=CLASSES), pipeline=[]
    )
    instances = [x for i in range(len(built)) for x in built.get_data_info(i)['instances']]
    assert [x['ignore_flag'] for x in instances] == [0] * 6


def test_repeated_ids_are_refused():
    content = sound()
    content['annotations'][1]['id'] = 1
    with pytest.raises(UserError, match=r'a\.json: annotations repeat an id \(1\)'):
        for_scoring(content, 'a.json')


def test_polygons_of_two_points_are_no_boxes_for_the_evaluation():
    """pycocotools reads four numbers as x, y, width, height."""
    content = sound()
    first, second = content['annotations'][:2]
    whole = first['segmentation'][0]
    first['segmentation'] = [[0, 0, 90, 70], whole]
    second['segmentation'] = [[0, 0, 90, 70]]
    for_scoring(content)
    assert first['segmentation'] == [whole]
    assert drawn(content).tolist()[1] == 0


@pytest.mark.parametrize('segmentation', [[[]], [[], []], [[1, 2, 3]], {}, {'size': [80, 100]}])
def test_what_mmdet_leaves_out_in_training_is_a_mask_without_a_pixel(segmentation):
    """pycocotools stops at these; mmdet has to leave out what stands there in their place."""
    loading = pytest.importorskip('mmdet.datasets.transforms.loading')
    content = sound()
    content['annotations'][0]['segmentation'] = segmentation
    for_scoring(content)
    assert drawn(content).tolist()[0] == 0
    for poly2mask in (True, False):
        instance = dict(ignore_flag=0, mask=content['annotations'][0]['segmentation'])
        transform = loading.LoadAnnotations(with_mask=True, poly2mask=poly2mask)
        transform._load_masks(dict(instances=[instance], ori_shape=(80, 100)))
        assert instance['ignore_flag'] == 1


def drawn(content):
    """Pixels of every mask, as pycocotools draws it."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = content
    coco.createIndex()
    return np.array([coco.annToMask(a).sum() for a in content['annotations']])


@pytest.mark.parametrize('value', [None, True, [1], {}, 'x', 99])
@pytest.mark.parametrize('key', ['image_id', 'category_id'])
def test_annotations_of_nothing_that_is_listed_are_left_out(key, value):
    content = sound()
    content['annotations'][0][key] = value
    assert [a['bbox'] for a in for_scoring(content)['annotations']] == [
        a['bbox'] for a in sound()['annotations'][1:]
    ]


def test_text_among_the_coordinates_is_read_wherever_it_stands():
    content = sound()
    content['annotations'][0]['segmentation'] = [[10, '10', 40, '10.5', 40, 30]]
    normalise(content)
    assert content['annotations'][0]['segmentation'] == [[10, 10, 40, 10.5, 40, 30]]


def test_printed_bytes_are_run_lengths(tmp_path):
    from pycocotools import mask as mask_utils

    mask = np.zeros((80, 100), np.uint8, order='F')
    mask[3:50, 10:70] = 1
    counts = mask_utils.encode(mask)['counts']
    content = sound()
    content['annotations'][0]['segmentation'] = dict(size=[80.0, '100'], counts=str(counts))
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    assert load_coco(path)['annotations'][0]['segmentation'] == dict(
        size=[80, 100], counts=counts.decode()
    )


@pytest.mark.parametrize('seed', range(5))
def test_run_lengths_are_decoded_as_pycocotools_does(seed):
    from pycocotools import mask as mask_utils

    generator = np.random.default_rng(seed)
    mask = np.asfortranarray(generator.random((37, 53)) > (0.02, 0.2, 0.5, 0.9, 1)[seed], np.uint8)
    mask[5:20, 3:40] |= np.uint8(seed % 2)
    lengths = decoded(mask_utils.encode(mask)['counts'].decode())
    assert sum(lengths) == mask.size
    pixels = np.repeat(np.arange(len(lengths)) % 2, lengths)
    assert (pixels.reshape(mask.shape, order='F') == mask).all()


@pytest.mark.parametrize(
    ('value', 'result'),
    [('12.5', 12.5), ('640', 640), (640.0, 640), ('nan', 'nan'), ('a', 'a'), (None, None), (3, 3)],
)
def test_numbers_as_text(value, result):
    assert number(value) == result
    assert type(number(value)) is type(result)


@pytest.mark.parametrize(
    ('value', 'result'),
    [(None, 0), ('0', 0), ('false', 0), (True, 1), ('1', 1), (1.0, 1), (2, 2), ('maybe', 'maybe')],
)
def test_flags(value, result):
    assert flag(value) == result
