"""Run a model on images and write predictions and annotated images into a folder."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selnext_mm.datasets.pixels import is_dark
from selnext_mm.errors import UserError
from selnext_mm.inference.categories import Ids
from selnext_mm.inference.images import ImageFile
from selnext_mm.inference.output import (
    PictureNames,
    annotate,
    save_picture,
    write_classes,
    write_detections,
)
from selnext_mm.inference.thresholds import Thresholds


@dataclass
class ImagesFound:
    """The results of :func:`predict_images`."""

    records: list[dict]  # of the images that could be read, in the order of the input
    unreadable: list[dict]  # 'path' and 'error' of the others
    new_ids: int  # number of images that the annotations do not list
    files: list[str]
    seconds: float
    dark: list[str]  # 16-bit images that are almost black for the model


class Collector:
    """Collects records as they come; two threads draw and write annotated images."""

    def __init__(self, folder: Path | None, classes: tuple[str, ...], lowest: Thresholds) -> None:
        self.records: list[dict] = []
        self.folder, self.classes, self.lowest = folder, classes, lowest
        self.name = PictureNames()
        self.pool = ThreadPoolExecutor(2)
        self.drawing: deque[Future] = deque()

    def _draw(self, folder: Path, pixels, record: dict, name: str) -> None:
        save_picture(folder, name, annotate(pixels, record, self.classes, self.lowest))

    def add(self, record: dict, pixels) -> None:
        self.records.append(record)
        if self.folder is not None and 'error' not in record:
            name = self.name(record['file'])
            self.drawing.append(self.pool.submit(self._draw, self.folder, pixels, record, name))
        while len(self.drawing) > 16:  # images wait in memory
            self.drawing.popleft().result()

    def finish(self) -> tuple[list[dict], list[dict]]:
        """(records of the images, records with an error), in the order of the input."""
        while self.drawing:
            self.drawing.popleft().result()
        self.records.sort(key=lambda r: r['index'])
        good = [r for r in self.records if 'error' not in r]
        return good, [r for r in self.records if 'error' in r]

    def close(self) -> None:
        self.pool.shutdown(cancel_futures=True)


def predict_images(
    predictor: Any,
    images: Sequence[ImageFile],
    folder: Path,
    ids: Ids,
    lowest: Thresholds,
    pictures: bool = True,
    on_image: Callable[[], object] = lambda: None,
    on_unreadable: Callable[[dict], object] = lambda record: None,
) -> ImagesFound:
    """Run ``predictor`` over ``images`` and write what it finds into ``folder``.

    Args:
        predictor: a :class:`~selnext_mm.inference.Predictor`, or an object with its attributes.
        images: from :func:`~selnext_mm.inference.images.list_images`.
        folder: an existing one.
        ids: category and image ids.
        lowest: lowest scores of the objects that are drawn.
        pictures: draw the images, into ``folder / 'pictures'``.
        on_image: called after each image.
        on_unreadable: called at the end with the record ('path', 'error') of each image that
            cannot be read.

    Raises:
        UserError: if no image can be read.
    """
    collector = Collector(folder / 'pictures' if pictures else None, predictor.classes, lowest)
    started = time.perf_counter()

    dark: list[str] = []

    def take(record: dict, pixels) -> None:
        if pixels is not None and is_dark(pixels, record['path']):
            dark.append(record['path'])
        collector.add(record, pixels)
        on_image()

    try:
        predictor.run(images, take)
        good, bad = collector.finish()
    finally:
        collector.close()
    seconds = time.perf_counter() - started
    for record in bad:
        on_unreadable(record)
    if not good:
        none = 'the image cannot' if len(images) == 1 else f'none of the {len(images)} images can'
        raise UserError(f'{none} be read; nothing was written')
    numbers, new = ids.number_images([r['file'] for r in good], [r['path'] for r in good])
    for record, number in zip(good, numbers, strict=True):
        del record['index']
        record['image_id'] = number
    if predictor.loaded.is_classifier:
        files = write_classes(folder, good)
    else:
        files = write_detections(folder, good, ids)
    return ImagesFound(good, bad, new, files, seconds, sorted(dark))
