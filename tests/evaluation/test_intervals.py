"""Intervals of AP: the weighted AP against pycocotools on a set with repeated images."""

import copy

import numpy as np
import pytest

from selnext_mm.evaluation.coco_scores import run_coco_eval, scores_of
from selnext_mm.evaluation.intervals import ap_intervals, ap_of, precision_table

NAMES = ('AP', 'AP50', 'AP75', 'AP small', 'AP medium', 'AP large')


def random_set(seed, images=12):
    """Objects of two classes and all sizes, some crowds; predictions near them, and false ones."""
    random = np.random.default_rng(seed)
    content = dict(
        images=[dict(id=i + 1, width=400, height=400, file_name=f'{i}.png') for i in range(images)],
        categories=[dict(id=1, name='a'), dict(id=2, name='b')],
        annotations=[],
    )
    results = []
    for image in range(1, images + 1):
        for _ in range(random.integers(0, 6)):
            side = float(random.choice([20, 60, 150]))
            box = [*map(float, random.integers(0, 200, 2)), side, side]
            kind = int(random.integers(1, 3))
            content['annotations'].append(
                dict(
                    id=len(content['annotations']) + 1,
                    image_id=image,
                    category_id=kind,
                    bbox=box,
                    area=side * side,
                    iscrowd=int(random.random() < 0.1),
                    segmentation=[],
                )
            )
            if random.random() < 0.8:
                near = [b + random.normal(0, side / 15) for b in box]
                results.append(dict(image_id=image, category_id=kind, bbox=near))
        for _ in range(random.integers(0, 3)):
            box = [*map(float, random.integers(0, 200, 2)), 50.0, 50.0]
            results.append(dict(image_id=image, category_id=1, bbox=box))
    for result in results:
        result['score'] = float(random.random())
    return content, results


def repeated(content, results, times):
    """The set with image i ``times[i]`` times, as a set of its own."""
    new, found = dict(content, images=[], annotations=[]), []
    for image, count in zip(content['images'], times, strict=True):
        for _ in range(int(count)):
            number = len(new['images']) + 1
            new['images'].append(dict(image, id=number))
            for one in content['annotations']:
                if one['image_id'] == image['id']:
                    more = dict(one, id=len(new['annotations']) + 1, image_id=number)
                    new['annotations'].append(more)
            found += [dict(r, image_id=number) for r in results if r['image_id'] == image['id']]
    return new, found


@pytest.mark.parametrize('seed', range(4))
def test_a_resample_has_the_ap_of_a_set_with_its_images(seed):
    content, results = random_set(seed)
    run = run_coco_eval(content, copy.deepcopy(results), 'bbox', None)
    table = precision_table(run)
    random = np.random.default_rng(seed)
    for _ in range(3):
        times = np.bincount(random.integers(0, 12, 12), minlength=12)
        slow = scores_of(run_coco_eval(*repeated(content, results, times), 'bbox', None))
        fast = ap_of(table, run.params, times.astype(float))
        for name in NAMES:
            assert fast[name] == pytest.approx(slow[name], abs=1e-12), name
    plain = scores_of(run)
    assert ap_of(table, run.params, np.ones(12)) == pytest.approx({n: plain[n] for n in NAMES})


def test_an_interval_is_narrower_with_more_images_and_holds_the_ap():
    widths = []
    for images in (12, 96):
        content, results = random_set(7, images)
        run = run_coco_eval(content, results, 'bbox', None)
        low, high = ap_intervals(run, 100)['AP']
        assert low < scores_of(run)['AP'] < high
        widths.append(high - low)
    # By the root of the number of images: 2.8 times.
    assert 1.5 < widths[0] / widths[1] < 5
    assert ap_intervals(run, 20) == ap_intervals(run, 20)


def test_what_some_resamples_lack_has_no_interval():
    content, results = random_set(3)
    large = [a for a in content['annotations'] if a['area'] > 96**2]
    for one in large[1:]:
        content['annotations'].remove(one)
    found = ap_intervals(run_coco_eval(content, results, 'bbox', None), 40)
    assert 'AP large' not in found
    assert found['AP'][0] < found['AP'][1]


def test_nothing_found():
    content, results = random_set(1)
    run = run_coco_eval(content, results[:1], 'bbox', None)
    low, high = ap_intervals(run, 20)['AP']
    assert 0 <= low <= high < 0.2
