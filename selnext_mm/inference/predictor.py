"""Run batches of images through a detector or a classifier; the results are plain data."""

import copy
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope

from selnext_mm.config.walk import tested_dataset
from selnext_mm.engine.detections import detections
from selnext_mm.errors import UserError
from selnext_mm.inference.images import (
    ImageFile,
    Images,
    UnpreparedError,
    check_narrow,
    list_images,
    why_unprepared,
    why_unreadable,
)
from selnext_mm.inference.loading import LoadedModel, load_for_inference, refuse_segmentor
from selnext_mm.text import counted

LOADERS = ('LoadImageFromFile', 'LoadMultiChannelImageFromFiles')


@dataclass
class Loaded:
    """An image that was read for the model; ``error`` says why it could not be."""

    image: ImageFile
    index: int
    pixels: np.ndarray | None = None  # BGR (H, W, 3) uint8, as it was read
    data: dict | None = None
    error: str | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data['inputs'].shape)


def inference_pipeline(cfg: Config) -> tuple[Compose, Compose]:
    """The test pipeline without its annotations, as (first step: reading, all other steps).

    Raises:
        UserError: if the config has no test pipeline that starts with reading a file.
    """
    steps = tested_dataset(cfg).get('pipeline') or cfg.get('test_pipeline')
    if not steps:
        raise UserError(f'{cfg.filename} has no test pipeline; name a config that can be tested')
    steps = copy.deepcopy(list(steps))
    steps = [s for s in steps if not str(s.get('type')).endswith('Annotations')]
    if str(steps[0].get('type')).split('.')[-1] not in LOADERS:
        raise UserError(
            f'the test pipeline of {cfg.filename} starts with {steps[0].get("type")}; expected '
            f'one of {", ".join(LOADERS)}'
        )
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        return Compose(steps[:1]), Compose(steps[1:])


def top_classes(sample: Any, top_k: int) -> list[dict]:
    """The ``top_k`` best labels of an mmpretrain ``DataSample`` with their scores."""
    scores = sample.pred_score.float().cpu()
    values, labels = scores.topk(min(top_k, len(scores)))
    return [
        dict(label=label, score=score)
        for label, score in zip(labels.tolist(), values.tolist(), strict=True)
    ]


class Predictor:
    """A loaded model that turns images into plain data.

    Threads read images ahead. A batch has images of one input shape, so the result of an image
    does not depend on the others. (In a batch of several sizes the smaller ones are padded, and
    the mean over a map, which a channel gate takes, would include the padding.)

    Args:
        config, checkpoint, device, classes, options: see :func:`load_for_inference`.
        batch_size: images per batch, at most.
        top_k: classes per image that a classifier reports.
        workers: threads that read images.
        dtype: of the backbone's computation: 'float32' or 'bfloat16'.

    Raises:
        UserError: see :func:`load_for_inference`.
    """

    def __init__(
        self,
        config: str | Path,
        checkpoint: str | Path,
        device: str = 'auto',
        classes: list[str] | None = None,
        options: dict | None = None,
        batch_size: int = 8,
        top_k: int = 5,
        workers: int = 4,
        dtype: str | None = None,
    ) -> None:
        for name, value in (('batch_size', batch_size), ('top_k', top_k), ('workers', workers)):
            if value < 1:
                raise UserError(f'{name}={value}; expected 1 or more')
        self.loaded: LoadedModel = load_for_inference(
            config, checkpoint, device, classes, options, dtype=dtype
        )
        refuse_segmentor(self.loaded.model, 'prediction')
        self.read, self.prepare = inference_pipeline(self.loaded.cfg)
        self.batch_size, self.top_k, self.workers = batch_size, top_k, workers

    @property
    def classes(self) -> tuple[str, ...]:
        return self.loaded.classes

    @property
    def device(self) -> torch.device:
        return next(self.loaded.model.parameters()).device

    def _load(self, image: ImageFile, index: int) -> Loaded:
        result = Loaded(image, index, error=why_unreadable(image.path))
        if result.error:
            return result
        try:
            data = self.read(dict(img_path=str(image.path), img_id=index, sample_idx=index))
            result.pixels = data['img'].copy()
            result.data = self._prepared(data)
        # An error in one image must not stop the others.
        except Exception as error:
            result.error = why_unprepared(error)
        return result

    def _prepared(self, data: dict) -> dict:
        """The output of the pipeline for an image that was read."""
        height, width = data['img'].shape[:2]
        check_narrow(width, height)
        try:
            return self.prepare(data)
        except cv2.error as error:
            reason = str(error).strip().splitlines()[-1]
            raise UnpreparedError(
                f'{width} x {height} pixels cannot be resized as the model needs them ({reason})'
            ) from error

    def _ahead(self, images: Iterable[ImageFile]) -> Iterator[Loaded]:
        """Loaded images in order; the next two batches are read ahead."""
        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque = deque()
            try:
                for index, image in enumerate(images):
                    waiting.append(pool.submit(self._load, image, index))
                    if len(waiting) > 2 * self.batch_size:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _batches(self, loaded: Iterable[Loaded]) -> Iterator[list[Loaded]]:
        """Batches of equal shape, and unreadable images alone.

        At most four batches' worth of images wait for others of their shape; then the images of
        the shape that has waited longest are run, however few there are.
        """
        groups: OrderedDict[tuple, list[Loaded]] = OrderedDict()
        for item in loaded:
            if item.error:
                yield [item]
                continue
            group = groups.setdefault(item.shape, [])
            group.append(item)
            if len(group) == self.batch_size:
                yield groups.pop(item.shape)
            elif sum(map(len, groups.values())) >= 4 * self.batch_size:
                yield groups.popitem(last=False)[1]
        yield from groups.values()

    @torch.no_grad()
    def _run(self, batch: list[Loaded]) -> list[dict]:
        loaded = self.loaded
        data = dict(
            inputs=[item.data['inputs'] for item in batch],
            data_samples=[item.data['data_samples'] for item in batch],
        )
        try:
            with DefaultScope.overwrite_default_scope(loaded.cfg.get('default_scope', 'mmengine')):
                samples = loaded.model.test_step(data)
        except torch.cuda.OutOfMemoryError as error:
            raise UserError(
                f'{self.device} has not enough memory for {counted(len(batch), "image")} of '
                f'{batch[0].shape[1]} x {batch[0].shape[2]}; give a smaller --batch-size'
            ) from error
        results = []
        for sample in samples:
            if loaded.is_classifier:
                found, key = top_classes(sample, self.top_k), 'classes'
            else:
                found, key = detections(sample), 'instances'
            results.append({key: [dict(category=self.classes[f['label']], **f) for f in found]})
        return results

    def run(
        self, images: Sequence[ImageFile], on_image: Callable[[dict, np.ndarray | None], None]
    ) -> None:
        """Call ``on_image(record, pixels)`` for every image as its batch is done, in any order.

        ``record`` is as :func:`predict` returns it, with the image's position as ``index``;
        ``pixels`` is BGR (H, W, C) as read, or None with an ``error``.
        """
        for batch in self._batches(self._ahead(images)):
            outcomes = [{}] if batch[0].error else self._run(batch)
            for item, outcome in zip(batch, outcomes, strict=True):
                record = dict(index=item.index, file=item.image.name, path=str(item.image.path))
                if item.error:
                    record['error'] = item.error
                else:
                    height, width = item.pixels.shape[:2]
                    record |= dict(width=width, height=height, **outcome)
                on_image(record, item.pixels)

    def find(self, pixels: np.ndarray) -> list[dict]:
        """``instances`` or ``classes``, as in :func:`predict`, of one BGR (H, W, 3) image."""
        return self.find_many([pixels])[0]

    def find_many(self, pictures: Sequence[np.ndarray]) -> list[list[dict]]:
        """:meth:`find` for several images of one shape, as one batch."""
        return self.find_loaded([self.load(pixels) for pixels in pictures])

    def find_loaded(self, batch: list[Loaded]) -> list[list[dict]]:
        """:meth:`find` for several images of :meth:`load` with one input shape, as one batch."""
        return [next(iter(outcome.values())) for outcome in self._run(batch)]

    def load(self, pixels: np.ndarray) -> Loaded:
        """One BGR (H, W, 3) image with the test pipeline's output, without the reading step."""
        size = pixels.shape[:2]
        if getattr(self.read.transforms[0], 'to_float32', False):
            pixels = pixels.astype(np.float32)
        data = dict(img=pixels.copy(), img_path='', img_id=0, sample_idx=0)
        data |= dict(img_shape=size, ori_shape=size)
        return Loaded(ImageFile(Path(), ''), 0, pixels, self._prepared(data))

    def pictures(self, images: Sequence[ImageFile]) -> Iterator[tuple]:
        """(file, BGR pixels, error) of each image, in order; the next one is read ahead."""
        with ThreadPoolExecutor(1) as pool:
            waiting: deque = deque()
            for image in images:
                waiting.append(pool.submit(self._pixels, image))
                if len(waiting) > 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

    def _pixels(self, image: ImageFile) -> tuple:
        if error := why_unreadable(image.path):
            return image, None, error
        try:
            data = self.read(dict(img_path=str(image.path), img_id=0, sample_idx=0))
        # An error in one image must not stop the others.
        except Exception as error:
            return image, None, why_unprepared(error)
        return image, data['img'], None

    def __call__(self, images: Images) -> list[dict]:
        """Records of all images that files, folders and globs name, in their order."""
        records: list[dict] = []
        self.run(list_images(images), lambda record, _: records.append(record))
        records.sort(key=lambda r: r['index'])
        for record in records:
            del record['index']
        return records


def predict(
    config: str | Path,
    checkpoint: str | Path,
    images: str | Path | Sequence[str | Path],
    **options,
) -> list[dict]:
    """One plain dict per image, ready for ``json.dump``; options are :class:`Predictor`'s.

    Every record has ``file`` (name below the given folder) and ``path``, and either ``error``
    (why it could not be read) or ``width``, ``height`` and

    - ``instances``, for a detector: dicts of ``category``, ``label`` (index into the classes),
      ``score`` in 0..1, ``bbox`` (x, y, w, h) in pixels, and with a mask head ``segmentation``
      (compressed RLE), best first as the model returns them, down to its own lowest score;
    - ``classes``, for a classifier: dicts of ``category``, ``label``, ``score``, best first.

    Raises:
        UserError: for a config, checkpoint, device or option that cannot be used, and if there
            are no images.
    """
    return Predictor(config, checkpoint, **options)(images)
