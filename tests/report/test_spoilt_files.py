"""Spoilt annotations and predictions: what draws them succeeds, or says why in one message."""

import copy
import json
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.config import Config

pytest.importorskip('mmdet')

from selnext_mm.errors import UserError
from selnext_mm.recipes.browse import browse
from selnext_mm.report import sections
from selnext_mm.report.page import as_json
from selnext_mm.report.work_dir import Run
from selnext_mm.visualization.panel import draw_panel, load_annotations, load_results
from tests.datasets.check.coco_samples import CLASSES
from tests.engine.preflight.spoilt import places
from tests.engine.spoilt_annotations import VALUES, content, difference, files, kind_of, value_at
from tests.engine.verdicts import Judge

FUZZ = settings(
    max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope='module')
def judges(tmp_path_factory):
    """Of masks, and of boxes alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'pretty_text', '')
        folder = tmp_path_factory.mktemp('drawn')
        made = [Judge(folder / 'masks'), Judge(folder / 'boxes', masks=False)]
        for judge in made:
            for kind, found in results().items():
                (judge.folder / f'sound.{kind}.json').write_text(json.dumps(found))
        yield made


def results() -> dict[str, list[dict]]:
    """What is there, found; one object as another class, one in another place."""
    found = [
        {k: a[k] for k in ('image_id', 'category_id', 'bbox', 'segmentation')} | {'score': 0.9}
        for a in content()['annotations']
        if not a['iscrowd']
    ]
    found[0]['category_id'] = 12
    found[1].update(bbox=[30, 30, 30, 40], segmentation=[[30, 30, 60, 30, 60, 70, 30, 70]])
    boxes = [{k: v for k, v in r.items() if k != 'segmentation'} for r in found]
    return dict(bbox=boxes, segm=found)


class Shown:
    """Draws the files of a judge by each of the ways; what they said."""

    def __init__(self, judge: Judge, found: str = 'sound') -> None:
        self.judge, self.folder = judge, judge.folder
        kinds = ('bbox', 'segm') if judge.masks else ('bbox',)
        self.files = {kind: self.folder / f'{found}.{kind}.json' for kind in kinds}

    def report(self, annotations: str) -> None:
        images = self.folder / 'images'
        run = Run('run', self.folder)
        tested = sections.Tested(run, self.files, self.folder / annotations, images, list(CLASSES))
        as_json(sections.section(1, [tested], 3, 0.05, lambda text: None)['gallery'])

    def panel(self, annotations: str) -> None:
        truth = load_annotations(self.folder / annotations)
        found = load_results(list(self.files.values())[-1], truth)
        draw_panel(truth, found, self.folder / 'images', self.folder / 'panel.png', 2)

    def browse(self, annotations: str) -> None:
        cfg = copy.deepcopy(self.judge.cfg)
        cfg.train_dataloader.dataset.ann_file = annotations
        browse(cfg, self.folder / 'browse.png', 'title', num=1)

    def said(self, way: str, annotations: str = 'sound.json') -> str | None:
        try:
            getattr(self, way)(annotations)
        except UserError as error:
            message = str(error)
            assert message.isprintable(), message
            assert str(self.folder) in message
            return message
        return None


@pytest.mark.parametrize('way', ['report', 'panel', 'browse'])
def test_the_sound_files_are_drawn(judges, way):
    assert [Shown(judge).said(way) for judge in judges] == [None, None]


@FUZZ
@given(data=files(), place=st.integers(0, 1))
def test_annotations_that_are_taken_are_drawn(judges, data, place):
    judge = judges[place]
    (judge.folder / 'a.json').write_bytes(data)
    taken = judge.check()[0] is None
    same = taken and _lists(data) == _lists(json.dumps(content()))
    for way in ('report', 'panel', 'browse'):
        said = Shown(judge).said(way, 'a.json')
        # Of other ids than the predictions have, these belong to no image.
        if taken and (same or way == 'browse'):
            assert said is None, f'{way}: {difference(data)}'


def _lists(data) -> tuple:
    made = json.loads(data)
    return [i['id'] for i in made['images']], [c['id'] for c in made['categories']]


@st.composite
def spoilt_results(draw) -> list:
    found = results()['segm']
    kinds: dict = {}
    for path in places(found):
        kinds.setdefault(kind_of(path), []).append(path)
    path = draw(st.sampled_from(kinds[draw(st.sampled_from(sorted(kinds, key=str)))]))
    node = value_at(found, path[:-1])
    if draw(st.integers(0, 5)) == 0:
        del node[path[-1]]
    else:
        node[path[-1]] = copy.deepcopy(draw(st.sampled_from(VALUES)))
    return found


@FUZZ
@given(found=spoilt_results(), place=st.integers(0, 1))
def test_predictions_are_drawn_or_refused_by_name(judges, found, place):
    judge = judges[place]
    for kind in ('bbox', 'segm'):
        path: Path = judge.folder / f'found.{kind}.json'
        path.write_bytes(json.dumps(found).encode('utf-8', 'surrogatepass'))
    for way in ('report', 'panel'):
        Shown(judge, 'found').said(way)


def first(**fields):
    def change(made):
        made['annotations'][0].update(fields)

    return change


def image(**fields):
    def change(made):
        made['images'][0].update(fields)

    return change


RUNS = dict(size=[80, 100], counts='Zf4n0b1000')  # cut off
FAR = [[10, 10, 40, 10, float('nan'), 30]]  # pycocotools takes all memory for it
# What was found: the ways that refuse it for masks, and for boxes alone.
FOUND = {
    'no category': (first(category_id=None), '', ''),
    'a category that is not listed': (first(category_id=99), '', ''),
    'no box': (first(bbox=None), 'report panel browse', 'report panel browse'),
    'no area': (first(area=None), '', ''),
    'no size': (image(width=None), 'report panel browse', 'report panel browse'),
    'a box as text': (first(bbox=['10', '10', '30', '20'], iscrowd='0'), '', ''),
    'two points': (first(segmentation=[[10, 10, 20, 20]]), '', ''),
    'two points before others': (
        first(segmentation=[[10, 10, 20, 20], [10, 10, 40, 10, 40, 30]]),
        '',
        '',
    ),
    'polygons without a point': (first(segmentation=[[]]), '', ''),
    'an empty mask': (first(segmentation=[]), 'report browse', ''),
    'no mask': (first(segmentation=None), 'report browse', ''),
    'a mask that is no mask': (first(segmentation='[[1, 2, 3, 4, 5, 6]]'), 'report browse', ''),
    'run lengths that are cut off': (first(segmentation=RUNS), 'report browse', ''),
    'a point that is not there': (first(segmentation=FAR), 'report browse', ''),
}


@pytest.mark.parametrize('name', FOUND)
@pytest.mark.parametrize('way', ['report', 'panel', 'browse'])
def test_what_the_fuzzer_has_found(judges, name, way):
    change, *refused = FOUND[name]
    made = content()
    change(made)
    for judge, ways in zip(judges, refused, strict=True):
        (judge.folder / 'a.json').write_text(json.dumps(made))
        said = Shown(judge).said(way, 'a.json')
        assert (said is not None) == (way in ways.split()), said


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_labels_in_another_encoding_are_browsed(judges, encoding):
    (judges[0].folder / 'a.json').write_text(json.dumps(content()), encoding=encoding)
    assert Shown(judges[0]).said('browse', 'a.json') is None


@pytest.mark.parametrize(
    ('key', 'value', 'words'),
    [
        ('score', '0.9', 'no finite score'),
        ('score', float('nan'), 'no finite score'),
        ('bbox', [1, 2, 3], 'no bbox of four finite numbers'),
        ('image_id', [1], r'image_id \[1\], which the annotations lack'),
        ('category_id', '10', 'category_id 10, which the annotations lack'),
        ('segmentation', None, 'no segmentation'),
        ('segmentation', RUNS, 'do not add up to the image'),
        ('segmentation', dict(size=[8, 10], counts=[80]), 'another size than the image'),
        ('segmentation', [[10, 10, 20, 20]], None),
        ('bbox', [1e300, 0, 1e300, 1], None),
        ('score', 7, None),
    ],
)
def test_a_prediction_that_is_none_is_named(judges, key, value, words):
    found = results()['segm']
    found[0][key] = value
    (judges[0].folder / 'found.segm.json').write_text(json.dumps(found))
    (judges[0].folder / 'found.bbox.json').write_text(json.dumps(results()['bbox']))
    said = Shown(judges[0], 'found').said('report')
    assert said is None if words is None else re.search(words, said)
