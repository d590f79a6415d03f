"""Class folders, changed at up to three places: one message, or lists that name what is there."""

import os
import shutil

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.registry import DATASETS, DefaultScope

from selnext_mm.datasets.check.config import check_config
from selnext_mm.datasets.formats import cache, find_dataset
from selnext_mm.datasets.image_suffixes import is_image
from selnext_mm.errors import UserError
from selnext_mm.recipes.check import labels_config

pytest.importorskip('mmpretrain')
FUZZ = settings(
    max_examples=50, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
NAMES = (
    *('cat', 'Cat', 'a b', ' cat', 'cat ', '-x', '--help', '1', '0', '猫', 'e\u0301', '\u00e9'),
    *(
        '.hidden',
        '__MACOSX',
        'train',
        'val',
        'test',
        'valid',
        'images',
        'labels',
        'a.png',
        'x' * 200,
    ),
    *('a\nb', 'a\tb', '\x1b[31mred', '\u202eabc', '%s{0}', 'a,b', 'a;b', "a'b", '#a', '\udce9'),
)
PICTURE = cv2.imencode('.png', np.zeros((8, 8, 3), np.uint8))[1].tobytes()


def write_classes(folder, splits=('train', 'val')):
    for split in splits:
        for name in ('ant', 'bee', 'cat'):
            place = folder / split / name
            place.mkdir(parents=True)
            for i in range(4):
                (place / f'{split}_{name}_{i}.png').write_bytes(PICTURE)
    return folder


def _renamed(draw, path):
    suffix = draw(st.sampled_from(('', '.png', '.PNG', '.txt', '.gif'))) if path.is_file() else ''
    target = path.with_name(draw(st.sampled_from(NAMES)) + suffix)
    if not os.path.lexists(target):
        path.rename(target)


def _removed(draw, path):
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _up(draw, path):
    target = path.parent.parent / path.name
    if not os.path.lexists(target):
        path.rename(target)


def _down(draw, path):
    below = path.with_name('below')
    if path != below and not os.path.lexists(below):
        below.mkdir()
        path.rename(below / path.name)


def _linked(draw, path):
    target = path.with_name('link' + path.suffix)
    where = draw(st.sampled_from((path, path.parent, 'gone', '.', target.name)))
    if not os.path.lexists(target):
        target.symlink_to(where)


def _beside(draw, path):
    folder = path if path.is_dir() else path.parent
    target = folder / draw(
        st.sampled_from(('data.yaml', 'a.xml', 'a.json', 'a.txt', 'b.jpg', 'new'))
    )
    if os.path.lexists(target):
        return
    kind = draw(st.sampled_from(('empty', 'text', 'folder', 'pipe')))
    if kind == 'folder':
        target.mkdir()
    elif kind == 'pipe':
        os.mkfifo(target)
    else:
        target.write_text('names: [a]\n' if kind == 'text' else '')


CHANGES = (_renamed, _removed, _up, _down, _linked, _beside)


def judge(folder) -> str | None:
    """The message of the reader; None if it takes the folders and mmpretrain reads its lists."""
    try:
        info = find_dataset(folder, progress=False)
    except UserError as error:
        return str(error)
    cfg = labels_config(info)
    if len(info.classes) > 1:
        assert [
            f.sentence() for r in check_config(cfg) for f in r.errors if f.check == 'list'
        ] == []
    for split, found in info.splits.items():
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        assert len(dataset) == found.images
        for i in range(len(dataset)):
            item = dataset.get_data_info(i)
            path = item['img_path']
            assert os.path.lexists(path), path
            assert is_image(type(folder)(path))
            folder_of = os.path.relpath(path, found.image_root).split(os.sep)[0]
            assert info.classes[item['gt_label']] == folder_of
    return None


@pytest.fixture(scope='module')
def unsynced():
    """Waiting for the disk is most of the time, and no power fails here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, 'sync', lambda path: None)
        yield


@FUZZ
@given(data=st.data())
@pytest.mark.usefixtures('unsynced')
def test_whatever_is_changed_is_one_message_or_sound(tmp_path_factory, data):
    splits = data.draw(
        st.sampled_from((('train', 'val'), ('train',), ('train', 'val', 'test'), ('',)))
    )
    root = tmp_path_factory.mktemp('classes')
    folder = write_classes(root / 'set', splits)
    for _ in range(data.draw(st.integers(1, 3))):
        every = sorted(folder.rglob('*'), key=os.fspath)
        if every:
            path = data.draw(st.sampled_from(every))
            data.draw(st.sampled_from(CHANGES))(data.draw, path)
    try:
        message = judge(folder)
        assert message is None or (message and message.isprintable())
    finally:
        shutil.rmtree(root)


def listed(folder):
    return {name: found.images for name, found in find_dataset(folder).splits.items()}


def test_a_loop_of_links_and_a_pipe_are_left_out(tmp_path):
    folder = write_classes(tmp_path / 'set')
    (folder / 'train' / 'ant' / 'link').symlink_to('link')
    (folder / 'link').symlink_to('..')
    for name in ('train/ant/pipe.png', 'data.yaml', 'train/labels.txt', 'train/a.json'):
        os.mkfifo(folder / name)
    assert listed(folder) == {'train': 12, 'val': 12}


def test_a_class_may_be_named_like_an_image(tmp_path):
    folder = write_classes(tmp_path / 'set')
    for split in ('train', 'val'):
        (folder / split / 'ant').rename(folder / split / 'ant.png')
    assert listed(folder) == {'train': 12, 'val': 12}
    assert find_dataset(folder).classes == ('ant.png', 'bee', 'cat')


def test_a_space_at_the_beginning_of_a_name_is_kept(tmp_path):
    folder = write_classes(tmp_path / 'set', ('',))
    (folder / 'ant').rename(folder / ' ant')
    assert judge(folder) is None


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('a\nb', r"a\nb.png': there is a line break"),
        ('\udce9', r"\udce9.png': this name is not UTF-8"),
    ],
)
def test_what_a_list_cannot_hold_is_refused(tmp_path, name, message):
    folder = write_classes(tmp_path / 'set')
    (folder / 'train/ant/train_ant_0.png').rename(folder / f'train/ant/{name}.png')
    assert message in judge(folder)
