"""Images that a camera marked as turned (EXIF): boxes end on the pixels that mmdet loads."""

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from selnext_mm.datasets.formats import find_dataset
from selnext_mm.datasets.formats.geometry import turn
from selnext_mm.datasets.formats.records import LabelledObject
from selnext_mm.datasets.formats.sizes import ImageSize, image_size
from selnext_mm.errors import UserError
from tests.datasets.formats.writers import dump, write_voc, yolo_lines

BOX = [8, 16, 24, 8]  # multiples of 8: JPEG's blocks


def stored(width, height):
    """A white rectangle on BOX."""
    image = np.zeros((height, width, 3), np.uint8)
    x, y, w, h = BOX
    image[y : y + h, x : x + w] = 255
    return Image.fromarray(image)


def save(path, picture, orientation):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, quality=95, exif=exif)


def white(path):
    """Where the rectangle is on the image as mmdet loads it: (x, y, w, h), width, height."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    rows, columns = np.nonzero(image[..., 0] > 128)
    x, y = columns.min(), rows.min()
    box = [x, y, columns.max() + 1 - x, rows.max() + 1 - y]
    return [int(v) for v in box], image.shape[1], image.shape[0]


def described(orientations, size, labelled_as):
    """Descriptions of images of ``size`` (stored), labelled 'stored' or 'shown'."""
    content = dict(images=[], annotations=[], categories=[dict(id=1, name='cat')])
    for i, orientation in enumerate(orientations, 1):
        name = f'{i}.jpg'
        buffer = io.BytesIO()
        save_to = stored(*size)
        exif = Image.Exif()
        exif[0x0112] = orientation
        save_to.save(buffer, 'JPEG', quality=95, exif=exif)
        shown = cv2.imdecode(np.frombuffer(buffer.getvalue(), np.uint8), cv2.IMREAD_COLOR)
        rows, columns = np.nonzero(shown[..., 0] > 128)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        width, height = shown.shape[1], shown.shape[0]
        if labelled_as == 'stored':
            box, (width, height) = BOX, size
        content['images'].append(dict(id=i, file_name=name, width=width, height=height))
        box = [int(v) for v in box]
        content['annotations'].append(
            dict(id=i, image_id=i, category_id=1, bbox=box, area=1, iscrowd=0)
        )
    return dict(train=content, val=json.loads(json.dumps(content)))


def images(size):
    def make(contents, folder, place):
        for split, content in contents.items():
            for record, orientation in zip(content['images'], make.orientations, strict=True):
                save(folder / place(split, record['file_name']), stored(*size), orientation)

    return make


def found_and_true(info):
    content = json.loads(info.splits['train'].annotations.read_text())
    for record, a in zip(content['images'], content['annotations'], strict=True):
        box, width, height = white(info.splits['train'].image_root / record['file_name'])
        yield (a['bbox'], record['width'], record['height']), (box, width, height)


@pytest.mark.parametrize('labelled_as', ['stored', 'shown'])
@pytest.mark.parametrize('size', [(64, 48), (48, 64)])
def test_boxes_end_on_the_pixels_that_are_loaded(labelled_as, size, tmp_path):
    orientations = [1, 2, 3, 4, 5, 6, 7, 8]
    contents = described(orientations, size, labelled_as)
    make = images(size)
    make.orientations = orientations
    # JPEG's blocks need not be whole in another layout of the image; VOC's own names are .jpg.
    info = find_dataset(write_voc({'train': contents['train']}, tmp_path / 'set', make))
    rest = {'val': info.splits['val'], 'train': info.splits['train']}
    assert sum(s.images for s in rest.values()) == 8
    for found, true in found_and_true(info):
        assert found == true
    assert any('labelled as they are stored' in c for c in info.choices) == (
        labelled_as == 'stored'
    )


def test_square_images_alone_are_taken_as_shown_and_told(tmp_path):
    contents = described([6, 3, 1], (64, 64), 'shown')
    make = images((64, 64))
    make.orientations = [6, 3, 1]
    info = find_dataset(write_voc({'train': contents['train']}, tmp_path / 'set', make))
    for found, true in found_and_true(info):
        assert found == true
    assert any('which the image size cannot reveal' in c for c in info.choices)


def test_yolo_s_fractions_are_of_the_image_as_shown(tmp_path):
    contents = described([6, 8, 1], (64, 48), 'shown')['train']
    for record, orientation in zip(contents['images'], (6, 8, 1), strict=True):
        path = tmp_path / 'images/train' / record['file_name']
        save(path, stored(64, 48), orientation)
        label = tmp_path / f'labels/train/{path.stem}.txt'
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(''.join(yolo_lines(contents, record)))
    (tmp_path / 'data.yaml').write_text('train: images/train\nnames: [cat]\n')
    for found, true in found_and_true(find_dataset(tmp_path)):
        assert found == true


def test_run_lengths_are_turned_with_their_image(tmp_path):
    mask = np.zeros((48, 64), np.uint8)
    x, y, w, h = BOX
    mask[y : y + h, x : x + w] = 1
    mask[y, x] = 0
    encoded = mask_utils.encode(np.asfortranarray(mask))
    compressed = dict(size=[48, 64], counts=encoded['counts'].decode())
    shown = {
        2: mask[:, ::-1], 3: mask[::-1, ::-1], 4: mask[::-1], 5: mask.T,
        6: np.rot90(mask, -1), 7: mask[::-1, ::-1].T, 8: np.rot90(mask),
    }  # fmt: skip
    for orientation, expected in shown.items():
        item = turn(LabelledObject('cat', BOX, compressed), orientation, 64, 48)
        assert np.array_equal(mask_utils.decode(item.mask), expected), orientation
        rows, columns = np.nonzero(expected)
        box = [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        assert [int(v) for v in box] == [int(v) for v in item.bbox], orientation


def test_polygons_are_turned_with_their_image():
    for orientation in range(2, 9):
        item = LabelledObject('cat', BOX, [[8, 16, 32, 16, 32, 24, 8, 24]])
        turned = turn(item, orientation, 64, 48)
        x, y = turned.mask[0][::2], turned.mask[0][1::2]
        assert [min(x), min(y), max(x) - min(x), max(y) - min(y)] == turned.bbox


def test_labels_for_another_size_are_refused(tmp_path):
    content = described([1, 1], (64, 48), 'stored')['train']
    content['images'][1] |= dict(width=640, height=480)
    for record in content['images']:
        save(tmp_path / 'images' / record['file_name'], stored(64, 48), 1)
    dump(content, tmp_path / 'labels.json')
    with pytest.raises(UserError, match=r'1 of 2 images .* have another size \(2.jpg is 64 x 48'):
        find_dataset(tmp_path)


def test_sizes_from_headers_are_those_of_the_pixels(tmp_path):
    for suffix in ('.jpg', '.png', '.bmp', '.webp', '.tiff', '.ppm', '.pgm'):
        path = tmp_path / f'a{suffix}'
        stored(64, 48).convert('L' if suffix == '.pgm' else 'RGB').save(path)
        assert image_size(path) == ImageSize(64, 48), suffix
    path = tmp_path / 'a.txt'
    path.write_text('no image')
    assert image_size(path) == 'is not an image that OpenCV can read'
    path.write_bytes(b'')
    assert image_size(path) == 'is empty'
    assert image_size(tmp_path / 'none.jpg').startswith('cannot be read')


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.tiff', '.webp'])
def test_a_size_says_how_the_image_was_turned_from_what_is_stored(suffix, tmp_path):
    """OpenCV turns TIFF even if it is told not to, and WebP never."""
    save(tmp_path / f'a{suffix}', stored(64, 48), 6)
    size = image_size(tmp_path / f'a{suffix}')
    turned = white(tmp_path / f'a{suffix}')[0] != BOX
    assert size == (ImageSize(48, 64, 6) if turned else ImageSize(64, 48))
