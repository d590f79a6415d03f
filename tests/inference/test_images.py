"""Which images are meant, and which cannot be read."""

import errno
import os

import pytest
from PIL import Image

from selnext_mm.analysis.pictures import find_images
from selnext_mm.datasets.check.folders import images_below
from selnext_mm.errors import UserError
from selnext_mm.inference.images import list_images, why_unreadable


def names(images):
    return [i.name for i in images]


def test_a_folder_gives_all_pictures_below_it_by_name(pictures):
    assert names(list_images(pictures)) == ['a.jpg', 'b.png', 'sub/a.jpg', 'sub/c.JPEG']


def test_globs_files_and_folders_mix_and_nothing_comes_twice(pictures):
    given = [f'{pictures}/*.jpg', pictures / 'b.png', pictures, f'{pictures}/**/*.JPEG']
    assert names(list_images(given)) == ['a.jpg', 'b.png', 'sub/a.jpg', 'sub/c.JPEG']


def test_a_name_with_brackets_that_exists_is_a_file(pictures):
    odd = pictures / 'a[1].jpg'
    odd.write_bytes((pictures / 'a.jpg').read_bytes())
    assert names(list_images(str(odd))) == ['a[1].jpg']


@pytest.mark.parametrize('entry', ['sub/nothing*.png', 'empty', '*.txt'])
def test_a_pattern_or_folder_without_pictures_is_an_error(entry, pictures):
    (pictures / 'empty').mkdir()
    with pytest.raises(UserError, match='no images'):
        list_images(str(pictures / entry))


def test_no_entries_are_an_error():
    with pytest.raises(UserError, match='no images given'):
        list_images([])


def test_a_missing_file_stays_to_be_reported(pictures):
    (image,) = list_images(pictures / 'gone.jpg')
    assert why_unreadable(image.path) == 'no such file'


def test_a_missing_folder_is_an_error(pictures):
    with pytest.raises(UserError, match=r'pictures_: no such file or folder; check the path'):
        list_images([pictures, f'{pictures}_'])


def test_each_kind_of_damage_is_named(broken):
    assert 'truncated' in why_unreadable(broken / 'cut.jpg')
    assert why_unreadable(broken / 'empty.png') == 'empty'
    assert why_unreadable(broken / 'text.jpg') == 'not an image'
    assert why_unreadable(broken / 'folder.jpg') == 'a directory'
    for name in ('a.jpg', 'b.png', 'sub/c.JPEG'):
        assert why_unreadable(broken / name) is None


def test_a_png_that_ends_early_is_found(pictures):
    whole = (pictures / 'b.png').read_bytes()
    (pictures / 'b.png').write_bytes(whole[: len(whole) // 2])
    assert why_unreadable(pictures / 'b.png')


def test_a_pipe_among_images_is_left_out_and_a_named_one_is_told(tmp_path):
    """Who opened it would wait for ever."""
    Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
    os.mkfifo(tmp_path / 'pipe.png')
    (tmp_path / 'gone.png').symlink_to('nowhere')
    for entry in (tmp_path, tmp_path / '*.png'):
        assert [i.path.name for i in list_images(entry)] == ['a.png', 'gone.png']
    (pipe,) = list_images(tmp_path / 'pipe.png')
    assert why_unreadable(pipe.path) == 'a pipe or a device'


@pytest.mark.parametrize('locked', ['', 'sub'])
def test_a_folder_that_may_not_be_looked_into_is_told(locked, pictures, monkeypatch):
    """Else its images would be missing in the predictions, and nobody would know."""
    scandir = os.scandir

    def refuse(path='.'):
        if os.path.realpath(path) == os.path.realpath(pictures / locked):
            raise PermissionError(errno.EACCES, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', refuse)
    for look in (list_images, find_images, lambda folder: [*images_below(folder)]):
        with pytest.raises(UserError, match=r'cannot be listed \(Permission denied\)'):
            look(pictures)


def test_pictures_of_formats_that_are_not_read_are_told(tmp_path):
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.png')
    (tmp_path / 'b.HEIC').write_bytes(b'\0\0\0\x18ftypheic')
    (tmp_path / '.c.heic').write_bytes(b'x')
    assert [i.name for i in list_images(tmp_path)] == ['a.png', 'b.HEIC']
    assert why_unreadable(tmp_path / 'b.HEIC') == '.heic is not read; convert it to .jpg or .png'


@pytest.mark.parametrize('second', ['results.json', 'predictions.csv'])
def test_what_an_earlier_prediction_has_drawn_is_no_input(second, pictures):
    drawn = pictures / 'predicted/pictures'
    drawn.mkdir(parents=True)
    for name in ('predictions.json', second, 'pictures/a.jpg'):
        (drawn.parent / name).write_bytes((pictures / 'a.jpg').read_bytes())
    assert names(list_images(pictures)) == ['a.jpg', 'b.png', 'sub/a.jpg', 'sub/c.JPEG']
    assert len(find_images(pictures)) == 4
    assert names(list_images(drawn)) == ['a.jpg']  # where it is named
