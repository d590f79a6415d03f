"""Labels of every format, spoilt at one place: one message, or a set that check-data takes."""

import copy
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selnext_mm.datasets.check.config import check_config
from selnext_mm.datasets.formats import find_dataset
from selnext_mm.errors import UserError
from selnext_mm.recipes.check import counts_table, labels_config
from tests.datasets.formats.spoilt_labels import spoilt
from tests.datasets.formats.writers import SMALL, WRITERS, write_coco2017

FUZZ = settings(
    max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
LABELS = ('.json', '.xml', '.txt', '.yaml')
TRAIN = 'annotations/instances_train2017.json'


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """Format -> (what is given to the command, its label files)."""
    root, sets = tmp_path_factory.mktemp('labels'), {}
    for kind, write in WRITERS.items():
        folder = root / kind
        folder.mkdir()
        path = write(SMALL, folder)
        files = [f for f in sorted(folder.rglob('*')) if f.suffix in LABELS and f.stat().st_size]
        sets[kind] = (path, files)
    return sets


def judge(path) -> str | None:
    """The message of the reader; None if it takes the labels, and so does check-data."""
    try:
        info = find_dataset(path)
    except UserError as error:
        return str(error)
    counts_table(info)
    # A class without an object is told where the labels are read; the rest has to be sound.
    found = [f for report in check_config(labels_config(info)) for f in report.errors]
    assert [f.sentence() for f in found if f.check != 'classes'] == []
    return None


@FUZZ
@given(data=st.data())
def test_whatever_is_spoilt_is_one_message_or_sound(written, data):
    path, files = written[data.draw(st.sampled_from(sorted(written)))]
    file = data.draw(st.sampled_from(files))
    sound = file.read_bytes()
    try:
        file.write_bytes(data.draw(spoilt(sound, file.suffix)))
        message = judge(path)
    finally:
        file.write_bytes(sound)
    assert message is None or (message and message.isprintable())


def coco(folder, change):
    write_coco2017(SMALL, folder)
    content = json.loads((folder / TRAIN).read_text())
    change(content)
    (folder / TRAIN).write_text(json.dumps(content))
    return folder


def objects(info):
    content = json.loads(info.splits['train'].annotations.read_text())
    return [(a['bbox'], a['iscrowd']) for a in content['annotations']]


def test_a_height_of_infinity_is_that_of_the_file(tmp_path):
    folder = coco(tmp_path, lambda c: c['images'][0].update(height=float('inf')))
    content = json.loads(find_dataset(folder).splits['train'].annotations.read_text())
    assert {(i['width'], i['height']) for i in content['images']} == {(64, 48)}


@pytest.mark.parametrize('box', [[True, 5, 10, 20], [1, 2, 3], 'x', {}, [1, 2, '3x', 4]])
def test_what_is_no_box_is_refused_as_check_data_does_for_a_config(tmp_path, box):
    folder = coco(tmp_path, lambda c: c['annotations'][0].update(bbox=box))
    with pytest.raises(UserError, match=r'the bbox of annotation 1 is .*; correct it to x, y'):
        find_dataset(folder)


@pytest.mark.parametrize('kind', WRITERS)
@pytest.mark.parametrize(
    ('box', 'left'),
    [
        ([65, 10, 6, 10], 5),
        ([60, 40, 30, 30], 6),
        ([-5, -5, 12, 12], 6),
        ([float('nan'), 4, 10, 20], None),
        ([3, 4, float('inf'), 20], None),
    ],
)
def test_a_fault_is_judged_alike_in_every_format(tmp_path, kind, box, left):
    """``left``: objects that are; None where it is refused."""
    made = copy.deepcopy(SMALL)
    made['train']['annotations'][0]['bbox'] = box
    path = WRITERS[kind](made, tmp_path)
    if left is None:
        with pytest.raises(UserError, match='train'):
            find_dataset(path)
        return
    found = find_dataset(path)
    assert len(objects(found)) == left
    assert any('outside' in note or 'cut at' in note for note in found.choices)


def test_numbers_and_flags_as_text_mean_what_they_mean_in_a_config(tmp_path):
    """The text "0" would count as a crowd."""

    def as_text(content):
        for a in content['annotations']:
            a.update(bbox=list(map(str, a['bbox'])), iscrowd='0', ignore='0', area=str(a['area']))
        for image in content['images']:
            image.update(width='64', height='48.0')

    (tmp_path / 'plain').mkdir()
    (tmp_path / 'text').mkdir()
    plain = find_dataset(write_coco2017(SMALL, tmp_path / 'plain'))
    assert objects(find_dataset(coco(tmp_path / 'text', as_text))) == objects(plain)


@pytest.mark.parametrize('mark', ['\u202e', 'a\x00b', '\ud800'])
def test_what_no_terminal_shows_is_written_out(tmp_path, mark):
    with pytest.raises(UserError) as caught:
        find_dataset(coco(tmp_path, lambda c: c['images'][0].update(file_name=mark)))
    assert mark.encode('unicode_escape').decode() in str(caught.value)
