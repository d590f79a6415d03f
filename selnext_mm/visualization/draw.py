"""Draw COCO instances over an image, and sheets of such images with a legend."""

import colorsys
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from pycocotools import mask as mask_utils

from selnext_mm.disk import write_atomically

TILE_HEIGHT, MAX_ASPECT = 340, 1.5  # a wider image is scaled to the width instead
MARGIN, PAIR_GAP, CELL_GAP, ROW_GAP, CAPTION, FOOT = 28, 6, 26, 14, 22, 20
CAPTION_SIZE = 14
WIDTH = 1500  # of a sheet, if its number of columns is not given
CROWDED = 12  # with more objects, labels shrink and the tiniest objects get none
INK, QUIET, PAPER = (28, 30, 36), (110, 115, 125), (255, 255, 255)
PALETTE = (  # for the first classes; further hues follow the golden ratio
    (230, 57, 70),
    (29, 120, 216),
    (247, 164, 20),
    (46, 160, 84),
    (150, 82, 210),
    (0, 172, 178),
    (224, 92, 170),
    (140, 100, 60),
)


@dataclass
class Instance:
    """One object: ``bbox`` (x, y, w, h) in pixels, ``score`` None for ground truth."""

    category_id: int
    bbox: list[float]
    segmentation: list | dict | None = None
    score: float | None = None
    crowd: bool = False


@dataclass
class Cell:
    """Images side by side, each under its caption, with one line of text below them."""

    tiles: list[np.ndarray]
    captions: list[str]
    foot: str

    @property
    def width(self) -> int:
        return sum(t.shape[1] for t in self.tiles) + PAIR_GAP * (len(self.tiles) - 1)


@lru_cache
def label_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'  # comes with matplotlib
    if find_spec('matplotlib'):
        import matplotlib

        return ImageFont.truetype(f'{matplotlib.get_data_path()}/fonts/ttf/{name}', size)
    try:
        return ImageFont.truetype(name, size)  # from the system
    except OSError:
        return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))  # it is FreeType


def class_colours(categories: list[dict]) -> dict[int, tuple[int, int, int]]:
    """Category id -> RGB in 0..255, by the position in ``categories``."""
    colours = {}
    for i, category in enumerate(categories):
        if i < len(PALETTE):
            colours[category['id']] = PALETTE[i]
        else:
            rgb = colorsys.hsv_to_rgb(
                i * 0.618034 % 1, (0.85, 0.6)[i % 2], (0.85, 0.65)[i // 2 % 2]
            )
            red, green, blue = (round(255 * v) for v in rgb)
            colours[category['id']] = (red, green, blue)
    return colours


def _decode(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """COCO polygons, RLE or compressed RLE -> (H, W) uint8 in {0, 1}."""
    if isinstance(segmentation, list):
        rle = mask_utils.merge(mask_utils.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation['counts'], list):
        rle = mask_utils.frPyObjects(segmentation, height, width)
    else:
        rle = segmentation
    return mask_utils.decode(rle)


def _spot(
    size: tuple[int, float], box: np.ndarray, taken: list, limits: tuple[int, int]
) -> tuple[int, int]:
    """Top left corner for a label of ``size`` near ``box``, avoiding ``taken`` if possible."""
    (w, h), (x0, y0, x1, y1) = size, box
    wishes = [(x0, y0 - h), (x0, y0), (x1 - w, y0 - h), (x0, y1 - h), (x0, y1), (x1 - w, y1)]
    wishes += [(x0, y0 + k * h) for k in range(1, 6)] + [(x1 - w, y0 + k * h) for k in range(6)]
    spots = [
        (int(min(max(x, 0), limits[0] - w)), int(min(max(y, 0), limits[1] - h))) for x, y in wishes
    ]

    def overlap(spot: tuple[int, int]) -> float:
        return sum(
            max(0, min(spot[0] + w, b[2]) - max(spot[0], b[0]))
            * max(0, min(spot[1] + h, b[3]) - max(spot[1], b[1]))
            for b in taken
        )

    return min(spots, key=overlap)  # the first of the best


def draw_instances(
    image: np.ndarray,
    instances: list[Instance],
    names: dict[int, str],
    colours: dict[int, tuple[int, int, int]],
    height: int = TILE_HEIGHT,
    alpha: float = 0.38,
    with_boxes: bool = True,
) -> np.ndarray:
    """Draw masks (opacity ``alpha``), contours, boxes and labels over an RGB image.

    Shapes: ``image`` (H, W, 3) uint8 -> (h, w, 3) uint8, h = ``height`` or less where the
    image is very wide. Lines and text are drawn after scaling, so they keep their size.
    """
    H, W = image.shape[:2]
    scale = min(height / H, MAX_ASPECT * height / W)
    size = (max(1, round(W * scale)), max(1, round(H * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(image, size, interpolation=method)
    ratio = np.array([size[0] / W, size[1] / H] * 2)
    order = sorted(instances, key=lambda i: -i.bbox[2] * i.bbox[3])
    for item in order:
        if not item.segmentation:
            continue
        mask = _decode(item.segmentation, H, W).astype(np.float32)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_AREA if scale < 1 else 1)
        mask = (cv2.GaussianBlur(mask, (0, 0), max(0.6, 0.6 * scale)) > 0.5).astype(np.uint8)
        tint = np.float32(colours[item.category_id])
        inside, opacity = mask.view(bool), alpha * (0.4 if item.crowd else 1)
        canvas[inside] = (canvas[inside] * (1 - opacity) + tint * opacity).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, contours, -1, PAPER, 3, cv2.LINE_AA)
        cv2.drawContours(canvas, contours, -1, colours[item.category_id], 2, cv2.LINE_AA)
    boxes, crowded = {}, len(instances) > CROWDED
    for item in order:
        x, y, w, h = item.bbox
        # Clipped before rounding, since a box in a file may be too far outside for an integer.
        box = (np.array([x, y, x + w, y + h]) * ratio).clip(0, np.array([*size, *size]) - 1)
        boxes[id(item)] = box = np.round(box).astype(int)
        if with_boxes:
            cv2.rectangle(canvas, box[:2].tolist(), box[2:].tolist(), colours[item.category_id], 1)
    picture = Image.fromarray(canvas)
    pen, font, taken = ImageDraw.Draw(picture), label_font(10 if crowded else 12, bold=True), []
    for item in reversed(order):  # small objects choose their position first
        if crowded and min(boxes[id(item)][2:] - boxes[id(item)][:2]) < 18:
            continue
        text = names[item.category_id] + (' (crowd)' if item.crowd else '')
        text += '' if item.score is None else f' {item.score:.2f}'
        label = (round(pen.textlength(text, font)) + 7, font.size + 4)
        x, y = _spot(label, boxes[id(item)], taken, size)
        taken.append((x, y, x + label[0], y + label[1]))
        fill = colours[item.category_id]
        bright = np.dot(fill, (0.299, 0.587, 0.114)) > 150
        pen.rounded_rectangle((x, y, x + label[0] - 1, y + label[1] - 1), 3, fill=fill)
        pen.text(
            (x + 4, y + label[1] / 2), text, fill=INK if bright else PAPER, font=font, anchor='lm'
        )
    return np.asarray(picture)


def elide(text: str, width: int, tail: str = '') -> str:
    """``text + tail``, the text cut off with an ellipsis so that the caption fits ``width``."""
    font = label_font(CAPTION_SIZE)
    if font.getlength(text + tail) <= width:
        return text + tail
    while text and font.getlength(f'{text}\u2026{tail}') > width:
        text = text[:-1]
    return f'{text.rstrip(" ,:")}\u2026{tail}'


def _rows(cells: list[Cell], columns: int | None) -> list[list[Cell]]:
    """Rows of ``columns`` cells; if None, each cell goes into the first row with room for it."""
    if columns is not None:
        return [cells[i : i + columns] for i in range(0, len(cells), columns)]
    rows: list[list[Cell]] = []
    for cell in cells:
        for row in rows:
            if sum(c.width + CELL_GAP for c in row) + cell.width <= WIDTH - 2 * MARGIN:
                row.append(cell)
                break
        else:
            rows.append([cell])
    return rows


def compose(
    title: str, note: str, cells: list[Cell], legend: list[tuple], columns: int | None = None
) -> Image.Image:
    """Cells in rows under a title, a note and a legend of (name, RGB)."""
    rows = _rows(cells, columns)
    heights = [max(t.shape[0] for c in row for t in c.tiles) for row in rows]
    head, text = label_font(20, bold=True), label_font(CAPTION_SIZE)
    total = max(sum(c.width + CELL_GAP for c in row) - CELL_GAP for row in rows)
    total = max(total, round(head.getlength(title)), round(text.getlength(note)))
    spots, x, y = [], 0, 0
    for name, _ in legend:
        step = 24 + round(text.getlength(name)) + 18
        if x and x + step > total:
            x, y = 0, y + 24
        spots.append((x, y))
        x += step
    top = MARGIN + 68 + (y + 24 if legend else 0)
    bottom = sum(heights) + len(rows) * (CAPTION + FOOT + ROW_GAP) - ROW_GAP
    sheet = Image.new('RGB', (total + 2 * MARGIN, top + bottom + MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, fill=INK, font=head)
    pen.text((MARGIN, MARGIN + 30), note, fill=QUIET, font=text)
    for (name, colour), (x, y) in zip(legend, spots, strict=True):
        x, y = x + MARGIN, y + MARGIN + 60
        pen.rounded_rectangle((x, y, x + 15, y + 15), 4, fill=colour)
        pen.text((x + 22, y + 8), name, fill=INK, font=text, anchor='lm')
    y = top
    for row, tall in zip(rows, heights, strict=True):
        x = MARGIN
        for cell in row:
            left = x
            for tile, caption in zip(cell.tiles, cell.captions, strict=True):
                pen.text((left, y + CAPTION - 7), caption, fill=INK, font=text, anchor='ls')
                sheet.paste(Image.fromarray(tile), (left, y + CAPTION))
                left += tile.shape[1] + PAIR_GAP
            below = y + CAPTION + max(t.shape[0] for t in cell.tiles) + 4
            pen.text((x, below), cell.foot, fill=QUIET, font=label_font(12))
            x += cell.width + CELL_GAP
        y += tall + CAPTION + FOOT + ROW_GAP
    return sheet


def save_sheet(sheet: Image.Image, out: str | os.PathLike) -> None:
    """Write the complete PNG or nothing; :class:`UserError` if it cannot be written."""
    write_atomically(os.fspath(out), lambda file: sheet.save(file, 'PNG'))
