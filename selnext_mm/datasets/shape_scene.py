"""One image of the synthetic shapes data set: geometry first, then paint.

Every object is a set of closed contours, filled even-odd on a grid ``SUB`` times finer than
the image. One fine label map holds which object is on top; masks, polygons and the
anti-aliased paint all come from it, so labels and pixels cannot disagree.
"""

import colorsys
import math
from dataclasses import dataclass

import cv2
import numpy as np
from pycocotools import mask as mask_utils

CLASSES = ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
SPLITS = ('train', 'val')
SUB = 4  # sub-pixels per pixel and axis
REFERENCE_SIZE = 224  # the scales below are for this image size and grow with it
MIN_OBJECTS, MAX_OBJECTS = 2, 6
MIN_VISIBLE = 0.8  # visible share of an object's area; far below it a label is guesswork
MIN_AREA = 60  # visible pixels
MIN_SCALE = 12  # pixels: lower limit of the scales in small images
# sqrt(area) in pixels, so that the groups are COCO's small, medium and large; the share of each
SCALES = (((24, 31), 0.2), ((34, 64), 0.64), ((100, 112), 0.16))
PLACEMENT_TRIES = 30
COLOUR_HINT = 0.8  # share of objects with the colour of their class; the rest have any
MAX_TURN = math.radians(20)  # a square rotated by 45 degrees would be a diamond


@dataclass
class Scene:
    """An image with its objects, in painting order (a later object hides an earlier one).

    image: (H, W, 3) uint8, RGB.  masks: (n, H, W) bool, the visible part of each object,
    disjoint.  labels: n indices into :data:`CLASSES`.  annotations: n dicts with
    ``category_id`` (label + 1), ``bbox``, ``area``, ``iscrowd`` and ``segmentation``.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: list[int]
    annotations: list[dict]


@dataclass
class Item:
    label: int
    scale: float  # sqrt of the area, pixels
    centre: np.ndarray  # (x, y), pixels; pixel i covers [i, i + 1]
    contours: list[np.ndarray]  # each (k, 2), pixels
    window: tuple[int, int, int, int]  # x0, y0, x1, y1: whole pixels round the object


def _regular(n: int, radii: tuple[float, ...], start: float = -0.25) -> np.ndarray:
    """Polygon about the origin; ``start``: angle of the first corner in turns, -0.25 is up."""
    angle = np.arange(n) * 2 * math.pi / n + 2 * math.pi * start
    radius = np.resize(radii, n)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _unit_contours() -> list[list[np.ndarray]]:
    """Contours of each class about the origin, scaled to area 1."""
    a, b = 0.4, 1.0
    cross = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a)]
    cross += [(-x, -y) for x, y in cross]
    shapes = [
        [_regular(96, (1,))],
        [_regular(4, (1,), start=0.125)],
        [_regular(3, (1,))],
        [_regular(10, (1, 0.55))],
        [_regular(96, (1,)), _regular(96, (0.5,))],
        [np.array(cross)],
    ]

    def area(points: np.ndarray) -> float:
        x, y = points.T
        return 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))

    sizes = [area(s[0]) - sum(map(area, s[1:])) for s in shapes]
    return [[c / math.sqrt(size) for c in s] for s, size in zip(shapes, sizes, strict=True)]


_UNIT = _unit_contours()


def _fine(contours: list[np.ndarray], window: tuple[int, int, int, int]) -> list[np.ndarray]:
    """Pixel coordinates -> 28.4 fixed point on the fine grid of ``window``."""
    return [np.round(((c - window[:2]) * SUB - 0.5) * 16).astype(np.int32) for c in contours]


def _fill(item: Item) -> np.ndarray:
    """Fine mask (h * SUB, w * SUB) uint8 of the whole object inside its window."""
    x0, y0, x1, y1 = item.window
    canvas = np.zeros(((y1 - y0) * SUB, (x1 - x0) * SUB), np.uint8)
    cv2.fillPoly(canvas, _fine(item.contours, item.window), 1, shift=4)
    return canvas


def _fine_view(array: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
    x0, y0, x1, y1 = (v * SUB for v in window)
    return array[y0:y1, x0:x1]


def _candidate(rng: np.random.Generator, label: int, span: tuple[int, int], size: int) -> Item:
    scale = math.exp(rng.uniform(*np.log(span))) * size / REFERENCE_SIZE
    scale = max(scale, MIN_SCALE)
    turn, stretch = rng.uniform(-MAX_TURN, MAX_TURN), math.sqrt(rng.uniform(1.0, 1.15))
    cos, sin = math.cos(turn), math.sin(turn)
    warp = np.array([[cos, sin], [-sin, cos]]) * scale
    contours = [(c * (stretch, 1 / stretch)) @ warp for c in _UNIT[label]]
    low, high = contours[0].min(axis=0), contours[0].max(axis=0)
    slack = 0.08 * (high - low)  # an object may exceed the image by this much
    first, last = -low - slack, size - high + slack
    centre = np.where(first < last, rng.uniform(0, 1, 2) * (last - first) + first, size / 2)
    contours = [c + centre for c in contours]
    x0, y0 = np.clip(np.floor(low + centre) - 1, 0, size).astype(int)
    x1, y1 = np.clip(np.ceil(high + centre) + 1, 0, size).astype(int)
    return Item(label, scale, centre, contours, (int(x0), int(y0), int(x1), int(y1)))


def _arrange(rng: np.random.Generator, size: int) -> tuple[list[Item], np.ndarray]:
    """Objects in painting order and the fine label map (0 background, i + 1 object i)."""
    share = [p for _, p in SCALES]
    while True:
        items: list[Item] = []
        labels = np.zeros((size * SUB, size * SUB), np.uint8)
        seen = np.zeros(MAX_OBJECTS + 2)  # visible fine pixels of each object
        spans = sorted(
            (SCALES[i][0] for i in rng.choice(3, rng.integers(2, MAX_OBJECTS + 1), p=share)),
            reverse=True,  # large objects first, since they would hide the others
        )
        for span in spans:
            label = int(rng.integers(len(CLASSES)))
            for _ in range(PLACEMENT_TRIES):
                item = _candidate(rng, label, span, size)
                own = _fill(item).view(bool)
                view = _fine_view(labels, item.window)
                left = seen - np.bincount(view[own], minlength=len(seen))
                left[len(items) + 1] = np.count_nonzero(own)
                floors = [
                    SUB**2 * max(MIN_AREA, MIN_VISIBLE * other.scale**2) for other in (*items, item)
                ]
                if np.all(left[1 : len(items) + 2] >= floors):
                    items.append(item)
                    view[own] = len(items)
                    seen = left
                    break
        if len(items) >= MIN_OBJECTS:
            return items, labels


def _annotate(item: Item, visible: np.ndarray, mask: np.ndarray) -> dict:
    """COCO annotation without ids: polygons of the visible region, or RLE if it has a hole.

    ``visible`` (fine, window) and ``mask`` (H, W) bool describe the same region; ``bbox`` and
    ``area`` are read back from the encoded segmentation.
    """
    contours, tree = cv2.findContours(
        visible.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
    )
    pixel = SUB**2
    hole = any(
        node[3] >= 0 and cv2.contourArea(c) >= pixel
        for c, node in zip(contours, tree[0], strict=True)
    )
    height, width = mask.shape
    polygons = []
    if not hole:
        for contour, node in zip(contours, tree[0], strict=True):
            points = cv2.approxPolyDP(contour, 0.2 * SUB, True)[:, 0].astype(float)
            if node[3] < 0 and len(points) > 2 and cv2.contourArea(contour) >= pixel:
                points = np.round((points + 0.5) / SUB + item.window[:2], 2)
                polygons.append(points.clip(0, (width, height)).ravel().tolist())
    if polygons:
        rle = mask_utils.merge(mask_utils.frPyObjects(polygons, height, width))
    else:
        rle = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        'category_id': item.label + 1,
        'bbox': [float(v) for v in mask_utils.toBbox(rle)],
        'area': float(mask_utils.area(rle)),
        'iscrowd': 0,
        'segmentation': polygons or {'size': [height, width], 'counts': rle['counts'].decode()},
    }


def _noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """Smooth noise (size, size), zero mean, about unit deviation."""
    grid = rng.standard_normal((cells + 2, cells + 2)).astype(np.float32)
    field = cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return (field - field.mean()) / (field.std() + 1e-6)


def _background(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth texture (size, size, 3) float32 in [0, 1] and its mean colour."""
    hue, light = rng.uniform(), rng.choice([rng.uniform(0.2, 0.38), rng.uniform(0.68, 0.93)])
    ends = [
        colorsys.hsv_to_rgb((hue + rng.uniform(-0.09, 0.09)) % 1, rng.uniform(0.06, 0.32), value)
        for value in (light - 0.07, light + 0.07)
    ]
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    turn = rng.uniform(0, 2 * math.pi)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    rate = float(2 * math.pi * rng.uniform(4, 9))
    blend = {
        'gradient': lambda: 1.6 * (u - u.mean()) / u.std(),
        'noise': lambda: _noise(rng, size, int(rng.integers(3, 9))),
        'stripes': lambda: np.tanh(3 * np.sin(rate * u)),
        'checker': lambda: np.tanh(5 * np.sin(rate * u) * np.sin(rate * v)),
        'blotches': lambda: np.tanh(4 * _noise(rng, size, int(rng.integers(5, 11)))),
    }[rng.choice(['gradient', 'noise', 'stripes', 'checker', 'blotches'])]()
    blend = 0.5 + 0.3 * blend + 0.12 * _noise(rng, size, 3)
    low, high = np.array(ends, np.float32)
    image = low + blend.clip(0, 1)[..., None].astype(np.float32) * (high - low)
    return image, image.mean(axis=(0, 1))


def _fill_colour(rng: np.random.Generator, hue: float, ground: np.ndarray) -> np.ndarray:
    for _ in range(50):
        tint = (hue + rng.uniform(-0.06, 0.06)) % 1
        colour = np.array(colorsys.hsv_to_rgb(tint, rng.uniform(0.5, 0.95), rng.uniform(0.55, 1)))
        if np.linalg.norm(colour - ground) > 0.42:
            break
    return colour.astype(np.float32)


def _paint(
    rng: np.random.Generator, image: np.ndarray, item: Item, colour: np.ndarray, light: tuple
) -> None:
    """Soft shadow, shaded and lightly textured fill, outline; in place."""
    size = len(image)
    lift = min(max(0.07 * item.scale, 2.0), 7.0)
    pad = int(3 * lift) + 2
    x0, y0, x1, y1 = item.window
    window = (max(x0 - pad, 0), max(y0 - pad, 0), min(x1 + pad, size), min(y1 + pad, size))
    x0, y0, x1, y1 = window
    shape = (x1 - x0, y1 - y0)
    item = Item(item.label, item.scale, item.centre, item.contours, window)
    own = _fill(item)
    cover = cv2.resize(own * 255, shape, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    line = np.zeros_like(own)
    thick = round(2 * SUB * np.clip(0.035 * item.scale, 1.3, 3.5))
    cv2.polylines(line, _fine(item.contours, window), True, 255, thick, shift=4)
    edge = cv2.resize(line * own, shape, interpolation=cv2.INTER_AREA).astype(np.float32) / 255

    patch = image[y0:y1, x0:x1]
    shift = np.float32([[1, 0, -lift * light[0]], [0, 1, -lift * light[1]]])
    shadow = cv2.GaussianBlur(cv2.warpAffine(cover, shift, shape), (0, 0), 0.7 * lift)
    patch *= 1 - 0.42 * shadow[..., None]

    y, x = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    middle = item.centre.tolist()  # Python floats keep the arrays in single precision
    x, y = (x + 0.5 - middle[0]) / item.scale, (y + 0.5 - middle[1]) / item.scale
    tone = 1 + 0.24 * (x * light[0] + y * light[1])
    turn, rate = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(18, 30))
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    texture = rng.choice(['plain', 'stripes', 'dots'], p=[0.6, 0.2, 0.2])
    if texture == 'stripes':
        tone += 0.07 * np.tanh(3 * np.sin(rate * u))
    elif texture == 'dots':
        tone += 0.09 * np.tanh(5 * (np.cos(rate * u) * np.cos(rate * v) - 0.35))
    glow = 0.3 * np.exp(-8 * ((x - 0.3 * light[0]) ** 2 + (y - 0.3 * light[1]) ** 2))
    fill = tone[..., None] * colour
    fill += glow[..., None] * (1 - fill)
    rim = colour * 0.36 if rng.uniform() < 0.75 else 0.25 * colour + 0.75
    patch *= 1 - cover[..., None]
    patch += fill.clip(0, 1) * (cover - edge)[..., None] + rim * edge[..., None]


def draw_scene(seed: int, split: str, index: int, size: int = REFERENCE_SIZE) -> Scene:
    """Image ``index`` of ``split``: depends only on the four arguments.

    Shapes: image (size, size, 3), masks (n, size, size), 2 <= n <= 6.
    Raises ValueError for a split outside :data:`SPLITS`.
    """
    key = (SPLITS.index(split), index)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    items, labels = _arrange(rng, size)
    image, ground = _background(rng, size)
    angle, hue = rng.uniform(-2.4, -0.7), rng.uniform()  # light from above
    light = (math.cos(angle), math.sin(angle))
    masks = np.zeros((len(items), size, size), bool)
    annotations = []
    for i, item in enumerate(items):
        own = rng.uniform() < COLOUR_HINT
        tint = item.label / len(CLASSES) if own else hue + 0.381966 * i
        _paint(rng, image, item, _fill_colour(rng, tint, ground), light)
        visible = _fine_view(labels, item.window) == i + 1
        x0, y0, x1, y1 = item.window
        counts = cv2.resize(  # of visible fine pixels, as the mean of 0 and SUB**2
            visible.astype(np.uint8) * SUB**2, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA
        )
        masks[i, y0:y1, x0:x1] = counts > SUB**2 // 2
        annotations.append(_annotate(item, visible, masks[i]))
    image += 0.008 * rng.standard_normal(image.shape, np.float32)
    pixels = np.round(image.clip(0, 1) * 255).astype(np.uint8)
    return Scene(pixels, masks, [item.label for item in items], annotations)
