"""check-data, training, test and the readers of the other commands judge a COCO file alike."""

import gc
import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config

pytest.importorskip('mmdet')
pytest.importorskip('faster_coco_eval')

from tests.engine.spoilt_annotations import content, difference, files
from tests.engine.verdicts import Judge, problems

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope='module')
def judges(tmp_path_factory):
    """Of masks, of boxes alone, and of training sets alone.

    What takes time and is not judged here is left out: pretty configs, garbage collection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        gc.collect()
        gc.freeze()
        folder = tmp_path_factory.mktemp('annotations')
        yield [
            Judge(folder / 'masks'),
            Judge(folder / 'boxes', masks=False),
            Judge(folder / 'training', scored=False),
        ]
        gc.unfreeze()


@pytest.fixture
def judge(judges):
    return judges[0]


def as_bytes(made) -> bytes:
    return json.dumps(made).encode()


def test_the_sound_file_is_taken_and_scored(judge):
    verdict = judge(as_bytes(content()))
    assert problems(verdict, judge) == ''
    assert verdict.check is None
    assert (verdict.learns, verdict.total) == (6, 7)
    for who in ('', 'fast ', 'report '):
        assert verdict.metrics[f'{who}bbox_mAP'] == 1
        assert verdict.metrics[f'{who}segm_mAP'] == pytest.approx(1)


@FUZZ
@given(data=files(), place=st.integers(0, 2))
def test_whatever_is_spoilt_is_judged_alike(judges, data, place):
    judge = judges[place]
    assert problems(judge(data), judge) == '', difference(data)


def first(key, value):
    def change(made):
        made['annotations'][0][key] = value

    return change


def image(key, value):
    def change(made):
        made['images'][0][key] = value

    return change


def negative(made):
    """Objects of an image that is not listed, and predictions of one score in another order."""
    made['images'][1]['id'] = -2


def wider(made):
    made['images'][1]['width'] = 101


def ignored_without_a_box(made):
    made['annotations'][0].update(ignore=1, bbox=None)


def small_with_a_mask_of_another_size(made):
    made['annotations'][0].update(
        bbox=[10, 10, 0.5, 20], segmentation=dict(size=[8, 10], counts=[80])
    )


# What was found, and what is right: the words of the message, or None where the file is taken.
FOUND = {
    'an image id that is a list': (first('image_id', [1]), None),
    'an image id that is true': (first('image_id', True), None),
    'an image id as a float': (first('image_id', 1.0), None),
    'a category id that is a list': (first('category_id', [10]), None),
    'polygons without a point': (first('segmentation', [[], []]), None),
    'run lengths without counts': (first('segmentation', {'size': [80, 100]}), None),
    'a polygon of three numbers': (first('segmentation', [[1, 2, 3]]), None),
    'ignored, without a box': (ignored_without_a_box, 'no bbox of four finite numbers'),
    'left out, with a mask of another size': (
        small_with_a_mask_of_another_size,
        'another size than the image',
    ),
    'a width with a fraction': (image('width', 100.5), 'in whole pixels'),
    'a width of no image': (image('width', 10**30), 'in whole pixels'),
    'a negative image id': (negative, None),
    'a name that turns the text around': (image('file_name', '\u202e.jpg'), r'\\u202e\.jpg'),
    'an image of another size': (wider, 'another size than annotated|annotated 101'),
}


@pytest.mark.parametrize('name', FOUND)
def test_what_the_fuzzer_has_found(judge, name):
    change, words = FOUND[name]
    made = content()
    change(made)
    verdict = judge(as_bytes(made))
    assert problems(verdict, judge) == ''
    for said in (verdict.check, verdict.train, verdict.test):
        assert said is None if words is None else re.search(words, said)
