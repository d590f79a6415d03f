"""Where slices lie, and masks moved from a slice into the image, against plain arrays."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from selnext_mm.errors import UserError
from selnext_mm.slicing import Slicing
from selnext_mm.slicing.windows import in_picture, moved_mask, windows


def encoded(mask):
    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=list(rle['size']), counts=rle['counts'].decode())


def test_the_last_slice_ends_at_the_border():
    assert windows(100, 250, 100, 0.2) == [(0, 0, 100, 100), (80, 0, 180, 100), (150, 0, 250, 100)]
    assert windows(60, 60, 100, 0.2) == [(0, 0, 60, 60)]
    assert len(windows(3000, 4000, 640, 0.2)) == 6 * 8


@given(st.integers(1, 300), st.integers(1, 300), st.integers(32, 120), st.floats(0, 0.9))
def test_slices_cover_the_picture_and_overlap(height, width, size, overlap):
    count = np.zeros((height, width), int)
    shapes = set()
    for x0, y0, x1, y1 in windows(height, width, size, overlap):
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
        count[y0:y1, x0:x1] += 1
        shapes.add((y1 - y0, x1 - x0))
    assert count.min() >= 1
    assert shapes == {(min(size, height), min(size, width))}
    along = sorted({x0 for x0, *_ in windows(height, width, size, overlap)})
    assert all(b - a <= round(size * (1 - overlap)) for a, b in pairwise(along))


@given(st.data())
def test_a_moved_mask_is_that_of_the_array(data):
    height, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    y, x = data.draw(st.integers(0, height - h)), data.draw(st.integers(0, width - w))
    bits = data.draw(st.lists(st.booleans(), min_size=h * w, max_size=h * w))
    wanted = np.zeros((height, width), np.uint8)
    wanted[y : y + h, x : x + w] = np.reshape(bits, (h, w))
    got = moved_mask(encoded(np.reshape(bits, (h, w))), x, y, height, width)
    assert got == encoded(wanted), 'the same runs, not only the same pixels'


def test_only_sides_inside_the_picture_are_cut():
    def cut(box, window=(100, 0, 200, 100)):
        return in_picture(dict(bbox=box), window, 100, 300, 0).cut

    assert cut([0, 0, 50, 100]) == (True, False, False, False)
    assert cut([2.5, 0, 20, 20]) == (True, False, False, False)
    assert cut([4, 0, 20, 20]) == (False,) * 4
    assert cut([4, 0, 90, 20]) == (True, False, False, False), 'within 5 % of its width'
    assert cut([30, 0, 69, 20]) == (False, False, True, False)
    piece = in_picture(dict(bbox=[1, 2, 3, 4]), (100, 50, 200, 150), 300, 300, 7)
    assert (piece.item['bbox'], piece.sources) == ([101, 52, 3, 4], {7})


@pytest.mark.parametrize(
    ('values', 'text'),
    [
        (dict(size=16), '--slice 16; expected 32 pixels or more'),
        (dict(overlap=0.95), '--overlap 0.95; expected a share from 0 to 0.9'),
        (dict(overlap=float('nan')), '--overlap nan'),
        (dict(batch=0), 'a batch of 0 slices'),
    ],
)
def test_impossible_slices_are_refused(values, text):
    with pytest.raises(UserError, match=text):
        Slicing(**values)
