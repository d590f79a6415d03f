"""Small objects in large images, each found once: against a detector that is exact."""

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from selnext_mm.evaluation import coco_scores
from selnext_mm.slicing import Slicing, find_in_slices
from selnext_mm.slicing.merge import merge
from selnext_mm.slicing.windows import Piece
from tests.slicing.scene import coco, draw, oracle

HEIGHT, WIDTH = 480, 640
SLICES = Slicing(160, 0.2, batch=4)  # steps of 128: borders at 128, 160, 256, 288, ...
OBJECTS = [
    (0, 20, 20, 14, 14),  # in one slice
    (1, 135, 40, 18, 18),  # whole in the overlap of two
    (0, 120, 200, 16, 20),  # cut by one slice, whole in the next
    (1, 122, 120, 30, 30),  # at a corner of four
    (0, 280, 60, 12, 12),
    (0, 294, 60, 12, 12),  # its neighbour, cut on the other side
    (1, 40, 300, 20, 20),
    (1, 63, 300, 20, 20),
    (0, 200, 290, 180, 150),  # larger than a slice, and its parts in nine of them
    (1, 400, 100, 200, 40),  # longer than a slice
    (0, 627, 467, 13, 13),  # at the border of the image
]


@pytest.fixture(scope='module')
def scene():
    pixels = draw(HEIGHT, WIDTH, OBJECTS)
    return pixels, coco(HEIGHT, WIDTH, OBJECTS, pixels)


def results(found):
    return [dict(item, image_id=1, category_id=item['label'] + 1) for item in found]


def scores(content, found, kind):
    return coco_scores.evaluate(content, results(found), kind, None).summary


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_ap_of_small_objects_with_and_without_slices(scene, kind):
    pixels, content = scene
    whole, sliced = oracle([pixels])[0], find_in_slices(pixels, oracle, SLICES)
    without, with_ = (scores(content, found, kind) for found in (whole, sliced))
    assert without['AP small'] < 0.05
    assert with_['AP small'] == pytest.approx(1)
    assert with_['AP'] == with_['AR'] == pytest.approx(1)


def test_every_object_is_found_once_with_its_own_box_and_mask(scene):
    pixels, content = scene
    found = find_in_slices(pixels, oracle, SLICES)
    assert sorted(f['bbox'] for f in found) == sorted(list(map(float, o[1:])) for o in OBJECTS)
    by_box = {tuple(a['bbox']): a['segmentation'] for a in content['annotations']}
    for item in found:
        assert item['segmentation'] == by_box[tuple(item['bbox'])]
    assert [f['score'] for f in found] == sorted((f['score'] for f in found), reverse=True)


def test_what_is_longer_than_a_slice_is_joined_of_its_parts(scene):
    """Without the whole image, in which the oracle sees it in one piece."""
    pixels, _ = scene

    def parts_alone(pictures):
        return [[] if p.shape == pixels.shape else f
                for p, f in zip(pictures, oracle(pictures), strict=True)]  # fmt: skip

    found = find_in_slices(pixels, parts_alone, Slicing(160, 0.4))
    item, (_, *box) = oracle([pixels])[0][0], OBJECTS[8]
    assert item['bbox'] == box
    low, high = np.array(box[:2]), np.array(box[:2]) + box[2:]
    inside = [
        f for f in found
        if all(low <= f['bbox'][:2]) and all(np.add(f['bbox'][:2], f['bbox'][2:]) <= high)
    ]  # fmt: skip
    assert [f['segmentation'] for f in inside] == [item['segmentation']], 'no part is left over'


def test_memory_is_that_of_a_batch_and_small_pictures_go_through_once(scene):
    pixels, _ = scene
    shapes = []

    def model(pictures):
        shapes.append([p.shape for p in pictures])
        assert all(p.flags.c_contiguous for p in pictures)
        return [[] for _ in pictures]

    assert find_in_slices(pixels, model, Slicing(160, 0.2, batch=3)) == []
    assert shapes[0] == [pixels.shape]
    assert {shape for batch in shapes[1:] for shape in batch} == {(160, 160, 3)}
    assert [len(batch) for batch in shapes[1:]] == [3] * 6 + [2]
    shapes.clear()
    assert find_in_slices(pixels[:160, :150].copy(), model, SLICES) == []
    assert shapes == [[(160, 150, 3)]]


def piece(box, source, score=0.5, label=0, cut=(), mask=None):
    item = dict(label=label, score=score, bbox=list(box))
    if mask is not None:
        rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
        item['segmentation'] = dict(size=list(rle['size']), counts=rle['counts'].decode())
    return Piece(item, frozenset([source]), tuple(side in cut for side in 'ltrb'))


def boxes(*pieces):
    return [item['bbox'] for item in merge(list(pieces))]


def test_classes_and_objects_of_one_slice_stay_apart():
    a = piece((0, 0, 10, 10), 0, 0.9)
    assert len(boxes(a, piece((0, 0, 10, 10), 1, label=1))) == 2
    assert len(boxes(a, piece((1, 0, 10, 10), 0))) == 2
    assert boxes(a, piece((1, 0, 10, 10), 1)) == [[0, 0, 10, 10]]


def test_a_small_object_in_front_of_a_large_one_stays():
    large, small = piece((0, 0, 100, 100), 0, 0.9), piece((40, 40, 10, 10), 1)
    assert len(boxes(large, small)) == 2
    part = piece((90, 40, 10, 10), 1, cut='r')
    assert boxes(large, part) == [[0, 0, 100, 100]], 'a part of it is none of its own'


def test_what_is_whole_takes_the_place_of_a_part_with_a_higher_score():
    part, whole = piece((0, 0, 10, 10), 0, 0.9, cut='r'), piece((0, 0, 15, 10), 1, 0.6)
    (found,) = merge([part, whole])
    assert (found['bbox'], found['score']) == ([0, 0, 15, 10], 0.9)


def test_parts_are_joined_in_a_chain_whatever_their_order():
    first = piece((0, 0, 20, 10), 0, 0.9, cut='r')
    last = piece((25, 0, 20, 10), 2, 0.8, cut='l')
    middle = piece((10, 0, 25, 10), 1, 0.7, cut='lr')
    assert boxes(first, last, middle) == [[0, 0, 45, 10]]
    (joined,) = merge([piece((0, 0, 9, 9), 0, cut='r'), piece((0, 0, 9, 12), 1, cut='l')])
    assert joined['bbox'] == [0, 0, 9, 12]
    apart = piece((40, 0, 30, 10), 1, 0.7, cut='l')
    assert len(boxes(first, apart)) == 2


def test_masks_tell_neighbours_apart_whose_boxes_overlap():
    canvas = np.zeros((20, 20), bool)
    upper, lower = canvas.copy(), canvas.copy()
    upper[np.triu_indices(20)] = 1
    lower[np.tril_indices(20, -4)] = 1
    box = (0, 0, 20, 20)
    assert len(boxes(piece(box, 0, 0.9, cut='r', mask=upper), piece(box, 1, mask=lower))) == 2
    assert len(boxes(piece(box, 0, 0.9, cut='r', mask=upper), piece(box, 1, mask=upper))) == 1
