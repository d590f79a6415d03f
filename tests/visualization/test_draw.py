"""Objects on images, labels, colours, and the file of a sheet."""

import errno

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from selnext_mm.errors import UserError
from selnext_mm.visualization.draw import (
    Instance,
    class_colours,
    draw_instances,
    elide,
    save_sheet,
)


def rle(height, width, box):
    x, y, w, h = box
    mask = np.zeros((height, width), np.uint8, order='F')
    mask[y : y + h, x : x + w] = 1
    coded = mask_utils.encode(mask)
    return {'size': coded['size'], 'counts': coded['counts'].decode()}


def test_mask_is_tinted_inside_and_nowhere_else():
    image = np.full((100, 100, 3), 128, np.uint8)
    item = Instance(3, [40, 40, 40, 40], rle(100, 100, (40, 40, 40, 40)))
    colours = {3: (228, 28, 28)}
    tile = draw_instances(image, [item], {3: 'x'}, colours, height=200, alpha=0.5)
    assert tile.shape == (200, 200, 3)
    assert tile[120, 120].tolist() == [178, 78, 78]
    assert tile[20, 20].tolist() == [128, 128, 128]
    assert tile[180, 120].tolist() == [128, 128, 128]
    plain = draw_instances(image, [], {}, {}, height=200)
    assert (plain == 128).all()


def test_crowd_and_uncompressed_rle_are_drawn():
    image = np.zeros((10, 10, 3), np.uint8)
    crowd = {'size': [10, 10], 'counts': [0, 50, 50]}  # column by column: the left half
    item = Instance(3, [0, 0, 5, 10], crowd, crowd=True)
    tile = draw_instances(image, [item], {3: 'x'}, {3: (250, 0, 0)}, height=100, alpha=0.5)
    assert tile[60, 25].tolist() == [50, 0, 0]  # fainter than an object: 0.4 * 0.5 * 250
    assert tile[60, 80].tolist() == [0, 0, 0]


def test_eighty_classes_have_eighty_colours():
    colours = class_colours([{'id': i} for i in range(80)])
    assert len(set(colours.values())) == 80


def test_a_long_name_is_cut_and_its_score_is_not():
    assert elide('SELNeXt: frog', 248, ' 0.61') == 'SELNeXt: frog 0.61'
    cut = elide('SELNeXt: ' + 'Egyptian cat ' * 5, 248, ' 0.61')
    assert cut.startswith('SELNeXt: Egyptian')
    assert cut.endswith('\u2026 0.61')
    assert len(cut) < 45


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    out = tmp_path / 'new' / 'sheet.png'
    save_sheet(Image.new('RGB', (8, 4), (1, 2, 3)), out)
    assert Image.open(out).getpixel((7, 3)) == (1, 2, 3)
    before = out.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr('os.fsync', full)
    with pytest.raises(UserError, match='could not be written'):
        save_sheet(Image.new('RGB', (8, 4)), out)
    assert out.read_bytes() == before
    assert list(out.parent.iterdir()) == [out]
