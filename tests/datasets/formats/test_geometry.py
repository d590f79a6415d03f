"""Precision, clipping, areas."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as mask_utils

from selnext_mm.datasets.formats.geometry import (
    clip,
    decimals,
    fit,
    polygon_area,
    shortest,
    uncertainty,
    usable_mask,
)
from selnext_mm.datasets.formats.records import LabelledObject, Tally


@pytest.mark.parametrize(
    ('token', 'digits'),
    [('0.123', 3), ('.5', 1), ('1', 0), ('1.', 0), ('1.5e-5', 6), ('2E-07', 7), ('1e2', -2)],
)
def test_decimals_of_a_written_number(token, digits):
    assert decimals(token) == digits


@given(st.integers(0, 20_000), st.integers(1, 20_000), st.integers(6, 17))
def test_whole_pixels_come_back_from_six_digits_on(pixel, scale, digits):
    pixel = min(pixel, scale)
    token = f'{pixel / scale:.{digits}f}'
    error = uncertainty(token, 6, scale)
    assert abs(float(token) * scale - pixel) <= error
    assert shortest(float(token) * scale, error) == pixel


@given(st.floats(0, 1), st.integers(16, 8000), st.integers(2, 12))
def test_a_number_moves_by_no_more_than_it_was_rounded(fraction, scale, digits):
    token = f'{fraction:.{digits}f}'
    error = uncertainty(token, digits, scale)
    value = float(token) * scale
    assert abs(shortest(value, error) - value) <= error


def test_coarse_fractions_are_left_as_they_are():
    # Two decimals of 640 pixels: any whole pixel would do.
    assert shortest(0.37 * 640, uncertainty('0.37', 2, 640)) == 0.37 * 640


@pytest.mark.parametrize(
    ('box', 'expected'),
    [
        ([1, 2, 3, 4], ([1, 2, 3, 4], False)),
        ([-0.5, -1, 10, 10], ([-0.5, -1, 10, 10], False)),  # within a pixel: as it is
        ([-1.5, 0, 10, 10], ([0, 0, 8.5, 10], True)),
        ([55, 40, 20, 20], ([55, 40, 9, 8], True)),
        ([-5, -5, 100, 100], ([0, 0, 64, 48], True)),
        ([64, 10, 5, 5], (None, False)),  # outside
        ([63.5, 10, 5, 5], (None, False)),  # half a pixel inside
        ([10, 10, 0.5, 5], (None, False)),
        ([10, 10, -5, 5], (None, False)),
    ],
)
def test_boxes_that_stick_out(box, expected):
    assert clip(box, 64, 48) == expected


def test_what_is_left_out_is_counted():
    tally = Tally()
    objects = [
        LabelledObject('a', [1, 1, 5, 5]),
        LabelledObject('a', [60, 1, 50, 5]),
        LabelledObject('a', [70, 1, 5, 5]),
        LabelledObject('a', [math.nan, 1, 5, 5]),
        LabelledObject('a', None),
        LabelledObject('a', 7),
        LabelledObject('a', [1, 1, 10**400, 5]),
        LabelledObject('a', None, [[1, 1, 9, 1, 9, 9]]),
        LabelledObject('a', [1, 1, 5, 5], [[1, 1, 2, 2]], area=3),
    ]
    kept = fit(objects, 64, 48, tally, 'x.jpg')
    assert [o.bbox for o in kept] == [[1, 1, 5, 5], [60, 1, 4, 5], [1, 1, 8, 8], [1, 1, 5, 5]]
    assert tally.counts == {'clipped': 1, 'outside': 1, 'no box': 4, 'bad mask': 1}
    assert [o.area for o in kept] == [None, None, 32, None]


@pytest.mark.parametrize(
    'mask',
    [
        [[1, 1, 2, 2]],
        [[1, 1, 2, 2, 3]],
        [[1, 1, 2, 2, 3, math.nan]],
        [[1, 1, 2, 2, 3, 2e8]],
        [[1, 1, 2, 2, 3, None]],
        [],
        ['text'],
        'text',
        7,
        dict(size=[48, 64], counts=''),
        dict(size=[48, 64], counts="b'abc'"),
        dict(size=[64, 48], counts='abc'),
        dict(size=[48, 64], counts=[1, 2, 3]),
        dict(size=[48, 64], counts=[-1, 48 * 64 + 1]),
        dict(counts='abc'),
    ],
)
def test_masks_that_break_pycocotools_are_none(mask):
    assert usable_mask(mask, 64, 48) is None


def test_the_usable_part_of_a_mask():
    assert usable_mask([[1, 1, 2, 2], [1, 1, 5, 1, 5, 5]], 64, 48) == [[1, 1, 5, 1, 5, 5]]
    whole = dict(size=[48, 64], counts=[5, 48 * 64 - 5])
    assert usable_mask(whole, 64, 48) == whole


def test_areas_of_polygons_and_run_lengths():
    corners = [[10, 10, 30, 10, 30, 25, 10, 25], [40, 5, 50, 5, 45, 15]]
    assert polygon_area(corners) == 300 + 50
    pixels = np.zeros((48, 64), np.uint8)
    pixels[3:9, 4:20] = 1
    encoded = mask_utils.encode(np.asfortranarray(pixels))
    compressed = dict(size=[48, 64], counts=encoded['counts'].decode())
    item = LabelledObject('a', [4, 3, 16, 6], compressed)
    (kept,) = fit([item], 64, 48, Tally(), 'x')
    assert kept.area == 96
