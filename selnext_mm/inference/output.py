"""The output folder of a prediction, written atomically: JSON, CSV and annotated images."""

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from selnext_mm.disk import new_folder
from selnext_mm.errors import UserError
from selnext_mm.inference.categories import Ids
from selnext_mm.inference.images import ImageFile
from selnext_mm.inference.thresholds import Thresholds, shown
from selnext_mm.visualization import SCORE_THR as SCORE_THR
from selnext_mm.visualization.draw import (
    INK,
    PAPER,
    Instance,
    class_colours,
    draw_instances,
    label_font,
)

SMALLEST, LARGEST = 480, 1600  # limits of the longer side of an annotated image
PICTURES = 'pictures'
# All files that a prediction may write into its folder.
WRITTEN = (
    *('predictions.json', 'results.json', 'predictions.csv', PICTURES),
    *('frames.jsonl', 'video.mp4'),
)


@contextmanager
def complete_folder(out: Path, force: bool, images: Sequence[ImageFile] = ()) -> Iterator[Path]:
    """A temporary folder to write into; its files move to ``out`` if the block succeeds.

    Files of an earlier prediction in ``out`` are then removed, so that no two are mixed.

    Args:
        out: the folder.
        force: whether files of these names may be replaced.
        images: the input.

    Raises:
        UserError: if ``out`` is a file, contains files with the names of a prediction (without
        ``force``) or the input below them, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f'--out {out} is a file; name a folder')
    there = [name for name in WRITTEN if (out / name).exists()]
    if there and not force:
        raise UserError(
            f'{out} has predictions, or files of the same names ({", ".join(there)}); --force '
            'replaces them, or name another folder'
        )
    replaced = (out / PICTURES).resolve()
    if any(replaced in image.path.resolve().parents for image in images):
        raise UserError(
            f'--out {out}: the annotated images would replace {out / PICTURES}, which holds images '
            'that are to be looked at; name another folder'
        )
    with new_folder(out, '--out') as place:
        yield place
        left = [name for name in there if not (place / name).exists()]
    for name in left:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
        else:
            (out / name).unlink()


def coco_content(records: list[dict], ids: Ids) -> tuple[dict, list[dict]]:
    """(a COCO file with scores, the list that ``COCO.loadRes`` reads) of a detector's records."""
    from pycocotools import mask as mask_utils

    images, results = [], []
    for record in records:
        images.append(
            dict(
                id=record['image_id'],
                file_name=record['file'],
                width=record['width'],
                height=record['height'],
            )
        )
        for item in record['instances']:
            result = dict(
                image_id=record['image_id'],
                category_id=ids.categories[item['category']],
                bbox=item['bbox'],
                score=item['score'],
            )
            if 'segmentation' in item:
                result['segmentation'] = item['segmentation']
            results.append(result)
    annotations = []
    for number, result in enumerate(results, 1):
        if 'segmentation' in result:
            area = float(mask_utils.area(result['segmentation']))
        else:
            area = result['bbox'][2] * result['bbox'][3]
        annotations.append(dict(id=number, **result, area=area, iscrowd=0))
    content = dict(
        info=dict(description='predictions', category_ids_from=ids.source),
        images=images,
        categories=[dict(id=i, name=name) for name, i in ids.categories.items()],
        annotations=annotations,
    )
    return content, results


def write_detections(folder: Path, records: list[dict], ids: Ids) -> list[str]:
    """``predictions.json`` and ``results.json``; returns their names."""
    content, results = coco_content(records, ids)
    (folder / 'predictions.json').write_text(json.dumps(content) + '\n', encoding='utf-8')
    (folder / 'results.json').write_text(json.dumps(results) + '\n', encoding='utf-8')
    return ['predictions.json', 'results.json']


def _is_text(text: str) -> bool:
    """Whether ``text`` is valid Unicode; a file name that is not UTF-8 is not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def write_classes(folder: Path, records: list[dict]) -> list[str]:
    """``predictions.json`` and ``predictions.csv`` (a row per image); returns their names."""
    text = json.dumps(records, indent=1, ensure_ascii=False)
    if not _is_text(text):  # a file name that is not UTF-8: "\\udce9", as os.fsdecode gives it
        text = json.dumps(records, indent=1)
    (folder / 'predictions.json').write_text(text + '\n', encoding='utf-8')
    most = max(len(r['classes']) for r in records)
    header = ['file', *(f'{n}_{i}' for i in range(1, most + 1) for n in ('class', 'score'))]
    path = folder / 'predictions.csv'
    with open(path, 'w', newline='', encoding='utf-8', errors='surrogateescape') as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for r in records:
            pairs = ((c['category'], f'{c["score"]:.6f}') for c in r['classes'])
            writer.writerow([r['file'], *(value for pair in pairs for value in pair)])
    return ['predictions.json', 'predictions.csv']


def to_rgb(pixels: np.ndarray) -> np.ndarray:
    """BGR or grey (H, W[, C]) of any type -> RGB uint8, for drawing."""
    pixels = pixels if pixels.dtype == np.uint8 else np.clip(pixels, 0, 255).astype(np.uint8)
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, 2)
    return np.ascontiguousarray(pixels[..., 2::-1])


def annotate(
    pixels: np.ndarray, record: dict, classes: tuple[str, ...], score_thr: Thresholds
) -> np.ndarray:
    """RGB image with its objects drawn from ``score_thr`` (one, or one per label) on, or with its
    best classes listed below it.

    The longer side is the original image's, limited to 480..1600 pixels.
    """
    image = to_rgb(pixels)
    height, width = image.shape[:2]
    scale = float(np.clip(max(height, width), SMALLEST, LARGEST)) / max(height, width)
    if 'instances' in record:
        categories = [dict(id=i, name=name) for i, name in enumerate(classes)]
        drawn = [
            Instance(i['label'], i['bbox'], i.get('segmentation'), i['score'])
            for i in shown(record['instances'], score_thr)
        ]
        # draw_instances limits the width to 1.5 times this height.
        tall = max(1, round(scale * max(height, width / 1.5)))
        names = dict(enumerate(classes))
        return draw_instances(image, drawn, names, class_colours(categories), tall)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.fromarray(
        cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    )
    font = label_font(15, bold=True)
    lines = [f'{c["score"]:.3f}  {c["category"]}' for c in record['classes']]
    high = font.size + 8
    sheet = Image.new('RGB', (size[0], size[1] + high * len(lines) + 8), PAPER)
    sheet.paste(canvas, (0, 0))
    pen = ImageDraw.Draw(sheet)
    for i, (line, item) in enumerate(zip(lines, record['classes'], strict=True)):
        top = size[1] + 4 + i * high
        pen.rectangle(
            (0, top, max(1, round(item['score'] * size[0])), top + high - 2), fill=(214, 228, 247)
        )
        pen.text((8, top + high / 2 - 1), line, fill=INK, font=font, anchor='lm')
    return np.asarray(sheet)


class PictureNames:
    """Unique file names for annotated images: the image's own name, as .jpg."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def __call__(self, name: str) -> str:
        stem = Path(name).with_suffix('').as_posix()
        # a.jpg and a.png are two images, and so are a.jpg of two folders.
        candidates = [f'{stem}.jpg', f'{name}.jpg']
        number = 2
        while candidates[0] in self.taken:
            candidates.pop(0)
            if not candidates:
                candidates.append(f'{stem}_{number}.jpg')
                number += 1
        self.taken.add(candidates[0])
        return candidates[0]


def save_picture(folder: Path, name: str, image: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, 'JPEG', quality=92)
