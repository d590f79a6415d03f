"""Unpacking, checking and thinning out folders of images."""

import io
import tarfile

import pytest

from selnext_mm.datasets.class_folders import (
    balanced,
    find_root,
    read_split,
    unpack,
    write_annotations,
)
from selnext_mm.errors import UserError

CLASSES = ('cat', 'ant')


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / 'data'
    for split, count in (('train', 10), ('test', 4)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for i in range(count + (name == 'ant')):
                (root / split / name / f'{i:02}.jpg').write_bytes(b'x')
    (root / 'train' / 'ant' / 'notes.txt').write_text('no image')
    return root


def test_labels_are_the_places_of_the_classes(folder, tmp_path):
    split = read_split(folder, 'train', CLASSES)
    assert len(split) == 21
    lines = write_annotations(split, tmp_path / 'train.txt').read_text().splitlines()
    assert lines[0] == 'cat/00.jpg 0'
    assert lines[-1] == 'ant/10.jpg 1'
    assert len(lines) == 21


def test_subsets_are_balanced_and_evenly_spaced(folder):
    split = balanced(read_split(folder, 'train', CLASSES), 10)
    assert split.pictures['cat'] == [f'cat/{i:02}.jpg' for i in (0, 2, 4, 6, 8)]
    assert split.pictures['ant'] == [f'ant/{i:02}.jpg' for i in (0, 2, 4, 6, 8)]
    assert balanced(split, None) is split


@pytest.mark.parametrize('number', [3, 0, 22, -2])
def test_impossible_numbers_are_refused(folder, number):
    with pytest.raises(UserError, match='a multiple of 2, the number of classes, up to 20'):
        balanced(read_split(folder, 'train', CLASSES), number)


def test_folders_have_to_be_the_classes(folder):
    with pytest.raises(UserError, match=r"missing \['dog'\], unknown \['ant'\]"):
        read_split(folder, 'train', ('cat', 'dog'))
    for picture in (folder / 'test' / 'ant').glob('*.jpg'):
        picture.unlink()
    with pytest.raises(UserError, match=r'no images .* of ant'):
        read_split(folder, 'test', CLASSES)


def pack(path, source, name='.'):
    with tarfile.open(path, 'w:gz') as tar:
        tar.add(source, name)
    return path


@pytest.mark.parametrize('inside', ['.', 'cifar'])
def test_an_archive_is_unpacked_once(folder, tmp_path, inside):
    archive = pack(tmp_path / 'a.tar.gz', folder, inside)
    target = unpack(archive, tmp_path / 'out' / 'a')
    assert len(read_split(find_root(target), 'test', CLASSES)) == 9
    archive.unlink()
    assert unpack(archive, target) == target
    assert [p.name for p in target.parent.iterdir()] == ['a']


@pytest.mark.parametrize('evil', ['../out.jpg', 'link', 'pipe'])
def test_members_that_are_no_plain_files_inside_are_refused(tmp_path, evil):
    archive = tmp_path / 'a.tar'
    with tarfile.open(archive, 'w') as tar:
        member = tarfile.TarInfo(evil)
        if evil == 'link':
            member.type, member.linkname = tarfile.SYMTYPE, '/etc/passwd'
        elif evil == 'pipe':
            member.type = tarfile.FIFOTYPE
        else:
            member.size = 1
        tar.addfile(member, io.BytesIO(b'x'))
    with pytest.raises(UserError, match='was refused'):
        unpack(archive, tmp_path / 'inner' / 'a')
    assert not (tmp_path / 'inner').exists()
    assert not (tmp_path / 'out.jpg').exists()


def test_damaged_archives_leave_nothing(folder, tmp_path):
    archive = pack(tmp_path / 'a.tar.gz', folder)
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(UserError, match='damaged or no tar archive'):
        unpack(archive, tmp_path / 'inner' / 'a')
    assert not (tmp_path / 'inner').exists()
    with pytest.raises(UserError, match='no such file'):
        unpack(tmp_path / 'none.tar', tmp_path / 'inner' / 'b')


def test_a_root_has_both_splits(tmp_path):
    (tmp_path / 'train').mkdir()
    with pytest.raises(UserError, match=r'has no train/ and test/'):
        find_root(tmp_path)
