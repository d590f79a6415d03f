"""The sheet of ``cam``: each image beside its class activation maps."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from selnext_mm.visualization.draw import Cell, compose, elide, save_sheet

if TYPE_CHECKING:
    from selnext_mm.analysis.cam import ClassMap

TILE = 248  # side of an image on the sheet
COLOURS = cv2.COLORMAP_TURBO
OPACITY = 0.5


def overlay(image: np.ndarray, heat: np.ndarray, side: int = TILE) -> np.ndarray:
    """RGB (side, side, 3) of a square image under its map (h, w) in 0..1."""
    heat = cv2.resize(heat, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap(np.uint8(255 * heat), COLOURS)[:, :, ::-1]
    return np.uint8((1 - OPACITY) * _scaled(image, side) + OPACITY * colours)


def _scaled(image: np.ndarray, side: int) -> np.ndarray:
    method = cv2.INTER_AREA if side < len(image) else cv2.INTER_CUBIC
    return cv2.resize(image, (side, side), interpolation=method)


def _caption(label: str, item: 'ClassMap', names: Mapping[int, str], with_target: bool) -> str:
    scores = f' {item.score:.2f}' + (f' ({item.target_score:.2f})' if with_target else '')
    return elide(f'{label}: {short(names[item.predicted])}', TILE, scores)


def short(name: str) -> str:
    """The first of a class's synonyms."""
    return name.split(',')[0]


def draw_cams(
    results: Mapping[str, Sequence['ClassMap']],
    names: Mapping[str, Mapping[int, str]],
    paths: Sequence[Path],
    read: Callable[[Path], np.ndarray],
    out: str | Path,
    method: str,
    with_target: bool = False,
) -> None:
    """Draw a row per image: what the models saw, then one map per model, with its prediction.

    Args:
        results: label -> a map per image, as ``class_maps`` returns them.
        names: label -> class index -> name, for the classes in ``results``.
        paths: the images.
        read: returns the square of an image that the models saw.
        out: the PNG to write.
        method: for the title.
        with_target: all maps are of one class; its probability is printed, too.
    """
    cells = []
    folder = os.path.commonpath([path.parent for path in paths])
    for i, path in enumerate(paths):
        image = read(path)
        tiles, captions = [_scaled(image, TILE)], [elide(os.path.relpath(path, folder), TILE)]
        for label, maps in results.items():
            tiles.append(overlay(image, maps[i].heat))
            captions.append(_caption(label, maps[i], names[label], with_target))
        cells.append(Cell(tiles, captions, ''))
    layers = {label: maps[0].layer for label, maps in results.items()}
    if len(set(layers.values())) == 1:
        where = next(iter(layers.values()))
    else:
        where = ', '.join(f'{label} {layer}' for label, layer in layers.items())
    scale = cv2.applyColorMap(np.uint8([[0, 64, 128, 191, 255]]), COLOURS)[0, :, ::-1]
    legend = [
        (text, tuple(map(int, colour)))
        for text, colour in zip(('0', '0.25', '0.5', '0.75', '1'), scale, strict=True)
    ]
    title = f'{method} at {where}'
    note = 'predicted class and its probability'
    if with_target:
        first = next(iter(results))
        target = short(names[first][results[first][0].target])
        title = f'{method} of {target!r} at {where}'
        note += f' (that of {target!r})'
    sheet = compose(title, f'{note}; each map on its own scale', cells, legend, columns=1)
    save_sheet(sheet, out)
