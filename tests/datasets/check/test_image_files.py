"""Missing, broken, truncated, turned and wrongly sized images, told from real files."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.check.image_files import (
    check_images,
    check_present,
    glance,
    inspect,
    missing_files,
)
from selnext_mm.datasets.pixels import read_rgb


def write(path, size=(40, 30), **kwargs):
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **kwargs)
    return path


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'bmp', 'webp'])
def test_a_sound_picture_gives_its_size(tmp_path, suffix):
    assert inspect(write(tmp_path / f'a.{suffix}')) == (40, 30)


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'CMYK', 'P', '1', 'I;16'])
def test_unusual_colours_are_readable(tmp_path, mode):
    suffix = 'jpg' if mode == 'CMYK' else 'png'
    Image.new(mode, (40, 30)).save(tmp_path / f'a.{suffix}')
    assert inspect(tmp_path / f'a.{suffix}') == (40, 30)


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
@pytest.mark.parametrize('share', [0.3, 0.6, 0.95])
def test_a_truncated_picture_is_told(tmp_path, suffix, share):
    """Some versions of OpenCV silently read such a JPEG and fill it up with grey."""
    path = write(tmp_path / f'a.{suffix}', (200, 150))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert inspect(path) == 'is truncated or damaged'


def test_bytes_after_the_end_are_no_truncation(tmp_path):
    path = write(tmp_path / 'a.jpg')
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert inspect(path) == (40, 30)


@pytest.mark.parametrize(
    ('content', 'words'),
    [(b'', 'is empty'), (b'no image', 'not an image'), (b'<html>', 'not an image')],
)
def test_what_is_no_picture_is_told(tmp_path, content, words):
    (tmp_path / 'a.jpg').write_bytes(content)
    assert words in inspect(tmp_path / 'a.jpg')


def test_a_folder_and_a_missing_file_are_told(tmp_path):
    assert 'cannot be read' in inspect(tmp_path)
    assert 'No such file' in inspect(tmp_path / 'none.jpg')


def test_a_picture_turned_by_its_camera_has_its_sides_swapped(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / 'a.jpg', exif=exif)
    assert inspect(path) == (30, 40)
    report = Report('train', 'x', paths={str(path): (40, 30)})
    check_images(report)
    (finding,) = report.errors
    assert 'EXIF' in finding.remedy


@pytest.mark.parametrize(
    ('orientation', 'size'), [(3, (40, 30)), (2, (40, 30)), (4, (40, 30)), (6, (30, 30))]
)
def test_a_turned_picture_whose_size_does_not_tell_is_a_warning(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / 'a.jpg', size, exif=exif)
    report = Report('train', 'x', paths={str(path): size})
    check_images(report)
    assert [(f.level, f.check) for f in report.findings] == [('warn', 'turned')]


@pytest.mark.parametrize(('orientation', 'size'), [(3, (40, 30)), (6, (30, 30))])
@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp'])
def test_what_is_said_of_a_turned_picture_is_what_is_read(tmp_path, suffix, orientation, size):
    """OpenCV leaves WebP as it is stored, and Pillow reads the mark of both."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = write(tmp_path / f'a.{suffix}', size, exif=exif)
    write(tmp_path / 'upright.png', size)
    stored = read_rgb(tmp_path / 'upright.png').astype(int)
    turned = np.abs(read_rgb(path).astype(int) - stored).mean() > 60  # of noise: 85
    report = Report('train', 'x', paths={str(path): size})
    check_images(report)
    (finding,) = report.findings
    assert ('Training turns them' in finding.remedy) == turned
    assert ('training sees them as stored' in finding.remedy) != turned


def test_a_turned_picture_annotated_upright_is_sound(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = write(tmp_path / 'a.jpg', exif=exif)
    report = Report('train', 'x', paths={str(path): (30, 40)})
    check_images(report)
    assert report.findings == []
    assert read_rgb(path).shape == (40, 30, 3)


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize(('largest', 'levels'), [(4095, ['warn']), (65535, [])])
def test_sixteen_bits_that_become_black_are_a_warning(tmp_path, suffix, largest, levels):
    pixels = np.linspace(0, largest, 1200).astype(np.uint16).reshape(30, 40)
    path = tmp_path / f'a.{suffix}'
    Image.fromarray(pixels).save(path)
    report = Report('train', 'x', paths={str(path): (40, 30)})
    check_images(report)
    assert [f.level for f in report.findings] == levels
    first = Report('train', 'x', paths={str(path): (40, 30)})
    glance(first)
    assert first.findings == report.findings


def test_a_glance_looks_at_a_few_images_and_leaves_turned_ones_without_boxes(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 3
    path = write(tmp_path / 'a.jpg', exif=exif)
    lost = {str(tmp_path / f'{i}.jpg'): None for i in range(1000)}
    for size, found in ((None, []), ((40, 30), ['turned'])):
        report = Report('train', 'x', paths={str(path): size, **lost})
        glance(report)
        assert [f.check for f in report.findings] == found
    mmcv = pytest.importorskip('mmcv')
    assert (read_rgb(path)[..., ::-1] == mmcv.imread(str(path))).all()


@pytest.mark.parametrize('mode', ['RGBA', 'P', 'LA', 'CMYK', '1'])
def test_all_see_the_pixels_that_training_sees(tmp_path, mode):
    mmcv = pytest.importorskip('mmcv')
    pixels = np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    path = tmp_path / ('a.jpg' if mode == 'CMYK' else 'a.png')
    Image.fromarray(pixels).convert(mode).save(path)
    assert (read_rgb(path)[..., ::-1] == mmcv.imread(str(path))).all()


def test_findings_name_count_and_examples(tmp_path):
    paths = {}
    for i in range(6):
        paths[str(write(tmp_path / f'{i}.jpg'))] = (40, 30)
    (tmp_path / '1.jpg').write_bytes(b'broken')
    paths[str(tmp_path / '2.jpg')] = (41, 30)
    seen = []
    report = Report('train', 'x', paths=paths)
    check_images(report, lambda: seen.append(1), workers=2)
    assert len(seen) == 6
    assert {(f.check, f.count) for f in report.findings} == {('unreadable', 1), ('size', 1)}
    text = ' '.join(f.sentence() for f in report.findings)
    assert '1.jpg is not an image' in text
    assert '2.jpg is 40 x 30, annotated 41 x 30' in text


def test_missing_files_are_listed_by_folder(tmp_path):
    (tmp_path / 'a').mkdir()
    write(tmp_path / 'a' / '1.JPG')
    paths = [str(tmp_path / p) for p in ('a/1.jpg', 'a/2.jpg', 'b/3.jpg')]
    missing, near = missing_files(paths)
    assert sorted(missing) == sorted(paths)
    assert near == {paths[0]: '1.JPG'}
    assert missing_files([str(tmp_path / 'a' / '1.JPG')]) == ([], {})


@pytest.mark.parametrize(
    ('training', 'lost', 'level'), [(True, 1, 'warn'), (True, 2, 'error'), (False, 1, 'error')]
)
def test_a_run_can_do_without_a_few_images_an_evaluation_cannot(tmp_path, training, lost, level):
    source = write(tmp_path / '0.jpg')
    for i in range(1, 150):
        shutil.copy(source, tmp_path / f'{i}.jpg')
    names = [f'{i}.jpg' for i in range(150 - lost)] + [f'none{i}.jpg' for i in range(lost)]
    report = Report('x', 'x', paths={str(tmp_path / n): None for n in names})
    check_present(report, training)
    assert [(f.level, f.count) for f in report.findings] == [(level, lost)]


def test_another_case_of_letters_is_the_remedy(tmp_path):
    write(tmp_path / 'A.jpg')
    report = Report('x', 'x', paths={str(tmp_path / 'a.jpg'): None})
    check_present(report, True)
    assert 'A.jpg for a.jpg' in report.errors[0].remedy


@pytest.mark.parametrize(
    ('there', 'name', 'words'),
    [
        ('caf\u00e9.jpg', 'cafe\u0301.jpg', 'two forms of Unicode'),
        ('cafe\u0301.jpg', 'caf\u00e9.jpg', 'two forms of Unicode'),
        ('1.jpg', '1.jpg ', 'blanks stand around'),
        ('a b.jpg', 'a%20b.jpg', 'encoded as in an address'),
        ('1.jpg', 'train/1.jpg', 'There is {folder}/1.jpg: name the files relative to'),
        ('1.jpg', '/home/me/train/1.jpg', 'relative to the folder of data_prefix, {folder}'),
    ],
)
def test_a_name_that_is_spelt_else_is_told_with_what_is_there(tmp_path, there, name, words):
    write(tmp_path / there)
    report = Report('x', 'x', paths={os.path.join(tmp_path, name): None})
    check_present(report, True, str(tmp_path))
    assert words.format(folder=tmp_path) in report.errors[0].remedy


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        (r'train\1.jpg', 'Windows separators'),
        ('C:/data/1.jpg', 'drive of Windows'),
        ('http://images.cocodataset.org/1.jpg', 'is an address'),
    ],
)
def test_names_of_another_machine_are_told_apart(tmp_path, name, words):
    report = Report('x', 'x', paths={f'{tmp_path}/{name}': None})
    check_present(report, True)
    assert words in report.errors[0].remedy


@pytest.mark.realdata
def test_real_pictures_have_the_annotated_sizes(coco_root):
    from selnext_mm.datasets.check.images import image_paths
    from selnext_mm.datasets.coco_file import read_coco

    content = read_coco(coco_root / 'annotations' / 'instances_val2017.json')
    paths = image_paths(content, str(coco_root / 'val2017'))
    report = Report('val', 'x', paths=paths)
    check_present(report, False)
    check_images(report)
    assert report.findings == []
    assert len(paths) == len(content['images']) > 10


def test_a_pipe_is_told_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'a.png')
    assert inspect(tmp_path / 'a.png') == 'is a pipe or a device'
