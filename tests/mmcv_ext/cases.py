"""Arguments of operators, one set per case, for which the compiled module has been asked.

``dev/mmcv_outputs.py`` stores its answers in ``tests/data/mmcv_ext``. Arguments come out of
numpy's ``RandomState``, whose numbers never change.
"""

import itertools
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from tests.mmcv_ext import calls

STORED = Path(__file__).resolve().parents[1] / 'data' / 'mmcv_ext'


def generator(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array, dtype=np.float32))


def boxes(random, number: int, size: float = 60.0, whole: bool = False) -> torch.Tensor:
    """Boxes in a square; ``whole`` ones have whole coordinates, some of them no area."""
    corner, extent = random.rand(number, 2) * size, random.rand(number, 2) * size / 3
    corners = np.concatenate([corner, corner + extent], 1)
    return tensor((corners / 5).round() * 5 if whole else corners)


def scored(name: str, kind: str, number: int = 300) -> tuple[torch.Tensor, torch.Tensor]:
    """Boxes and scores: ``ties`` have few different scores and whole coordinates."""
    random, ties = generator(name), kind == 'ties'
    number = dict(empty=0, one=1).get(kind, number)
    scores = random.rand(number)
    return boxes(random, number, whole=ties), tensor(scores.round(1) if ties else scores)


def nms_cases() -> Iterator[tuple]:
    for kind, threshold, offset in itertools.product(
        ('random', 'ties', 'one', 'empty'), (0.1, 0.5, 0.7), (0, 1)
    ):
        name = f'{kind}-{threshold}-{offset}'
        yield name, calls.nms, scored(name, kind), dict(iou_threshold=threshold, offset=offset)


def softnms_cases() -> Iterator[tuple]:
    for kind, method, offset, least in itertools.product(
        ('random', 'ties'), (0, 1, 2), (0, 1), (0.001, 0.3)
    ):
        name = f'{kind}-{method}-{offset}-{least}'
        settings = dict(iou_threshold=0.3, sigma=0.5, min_score=least, method=method)
        yield name, calls.softnms, scored(name, kind, 100), dict(settings, offset=offset)


def nms_match_cases() -> Iterator[tuple]:
    for kind, threshold in itertools.product(('random', 'ties', 'one'), (0.1, 0.5)):
        name = f'{kind}-{threshold}'
        places, scores = scored(name, kind)
        dets = torch.cat([places, scores[:, None]], 1)
        yield name, calls.nms_match, (dets,), dict(iou_threshold=threshold)


def bbox_overlaps_cases() -> Iterator[tuple]:
    for mode, aligned, offset in itertools.product((0, 1), (False, True), (0, 1)):
        name = f'{mode}-{aligned}-{offset}'
        random = generator(name)
        pair = boxes(random, 20), boxes(random, 20 if aligned else 30)
        yield name, calls.bbox_overlaps, pair, dict(mode=mode, aligned=aligned, offset=offset)


def rois(random, kind: str, images: int, height: int, width: int) -> torch.Tensor:
    """Boxes (image, x1, y1, x2, y2) over images of that size."""
    if kind == 'empty':
        return torch.zeros(0, 5)
    number, size = 7, np.array([width, height])
    middle = random.rand(number, 2) * size
    extent = random.rand(number, 2) * size * dict(tiny=0.05).get(kind, 0.6)
    if kind == 'outside':  # from partly to wholly
        middle = (random.rand(number, 2) * 3 - 1) * size
    image = random.randint(0, images, (number, 1))
    corners = np.concatenate([middle - extent / 2, middle + extent / 2], 1)
    if kind == 'whole':  # samples between pixels and on them; boxes without area
        corners = (corners / 8).round() * 8
    return tensor(np.concatenate([image, corners], 1))


def roi_align_cases() -> Iterator[tuple]:
    shapes = {  # maps, bins, scale
        'many': ((2, 3, 13, 17), (7, 7), 0.25),
        'mask': ((3, 1, 30, 40), (5, 4), 1.0),
        'flat': ((1, 2, 1, 9), (2, 3), 0.3),
    }
    for shape, kind, ratio, mode, aligned in itertools.product(
        shapes, ('inside', 'outside', 'whole', 'tiny', 'empty'), (0, 1, 2), (0, 1), (False, True)
    ):
        # A few of everything suffice beside all of the common shape.
        if shape != 'many' and (kind not in ('inside', 'outside') or ratio == 1):
            continue
        name = f'{shape}-{kind}-{ratio}-{("max", "avg")[mode]}-{"aligned" if aligned else "not"}'
        maps, bins, scale = shapes[shape]
        random = generator(name)
        values = tensor(random.randn(*maps))
        places = rois(random, kind, maps[0], maps[2] / scale, maps[3] / scale)
        settings = dict(size=bins, scale=scale, ratio=ratio, mode=mode, aligned=aligned)
        yield name, calls.roi_align, (values, places), settings


# kernel, stride, padding, dilation, groups, deform groups, size of offsets
CONVOLUTIONS = {
    'plain': ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1, 1.5),
    'whole': ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1, 0.0),  # no offset: samples lie on pixels
    'far': ((3, 3), (1, 1), (1, 1), (1, 1), 1, 1, 20.0),
    'stride': ((3, 3), (2, 1), (1, 2), (1, 1), 1, 2, 1.5),
    'dilation': ((3, 2), (1, 2), (2, 1), (2, 1), 2, 1, 1.5),
    'groups': ((1, 3), (1, 1), (0, 1), (1, 1), 2, 2, 1.5),
}


def convolution(name: str, modulated: bool, with_bias: bool) -> tuple[tuple, dict]:
    kernel, stride, padding, dilation, groups, deform, reach = CONVOLUTIONS[name.split('-')[0]]
    random, (batch, channels, outs, height, width) = generator(name), (2, 4, 6, 7, 9)
    new = [
        (size + 2 * p - d * (k - 1) - 1) // s + 1
        for size, p, d, k, s in zip((height, width), padding, dilation, kernel, stride, strict=True)
    ]
    taps = deform * kernel[0] * kernel[1]
    maps = tensor(random.randn(batch, channels, height, width))
    offset = tensor(random.randn(batch, 2 * taps, *new) * reach)
    weight = tensor(random.randn(outs, channels // groups, *kernel))
    grad = tensor(random.randn(batch, outs, *new))
    settings = dict(stride=stride, padding=padding, dilation=dilation)
    settings |= dict(groups=groups, deform_groups=deform)
    if not modulated:
        return (maps, offset, weight, grad), settings
    mask = tensor(random.rand(batch, taps, *new))
    bias = tensor(random.randn(outs)) if with_bias else None
    return (maps, offset, mask, weight, bias, grad), settings


def deform_conv_cases() -> Iterator[tuple]:
    for name in CONVOLUTIONS:
        yield name, calls.deform_conv, *convolution(name, False, False)


def modulated_deform_conv_cases() -> Iterator[tuple]:
    for kind, with_bias in itertools.product(CONVOLUTIONS, (False, True)):
        name = f'{kind}-{"bias" if with_bias else "none"}'
        yield name, calls.modulated_deform_conv, *convolution(name, True, with_bias)


FAMILIES: dict[str, Callable[[], Iterator[tuple]]] = {
    'nms': nms_cases,
    'softnms': softnms_cases,
    'nms_match': nms_match_cases,
    'bbox_overlaps': bbox_overlaps_cases,
    'roi_align': roi_align_cases,
    'deform_conv': deform_conv_cases,
    'modulated_deform_conv': modulated_deform_conv_cases,
}


def answers(ext, family: str) -> dict[str, np.ndarray]:
    """What ``ext`` answers to all cases of a family: 'case/output' -> array."""
    return {
        f'{name}/{output}': value.numpy()
        for name, call, tensors, settings in FAMILIES[family]()
        for output, value in call(ext, *tensors, **settings).items()
    }
