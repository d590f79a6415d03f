"""Detectors and classifiers from a file: images in, plain data out, as ``predict`` returns it."""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from selnext_mm.errors import UserError
from selnext_mm.inference.batching import run_by_shape
from selnext_mm.inference.images import (
    ImageFile,
    UnpreparedError,
    list_images,
    why_unprepared,
    why_unreadable,
)
from selnext_mm.inference.thresholds import stored_thresholds
from selnext_mm.runtime.masks import paste, run_lengths
from selnext_mm.runtime.pictures import prepare, read_picture
from selnext_mm.runtime.sessions import InferenceSession, check_count, open_session

Images: TypeAlias = str | Path | np.ndarray | Sequence[str | Path | ImageFile | np.ndarray]


class FileModel:
    """What :class:`Detector` and :class:`Classifier` share; a call runs images one by one.

    Args:
        path, threads, providers: see :func:`~selnext_mm.runtime.sessions.open_session`.
        workers: threads that read images ahead.
        session: the session of the file, if it is already open.

    Raises:
        UserError: for a file that cannot be opened or contains another kind of model.
    """

    part: str  # name of this kind of model in the metadata
    key: str  # key of a record's results
    inputs: tuple[str, ...]  # input arrays of the file
    outputs: tuple[str, ...]  # output arrays that it must have
    thresholds: tuple[float, ...] | None = None  # lowest score of each class, if the file has them

    def __init__(
        self,
        path: str | Path,
        threads: int | None = None,
        providers: list[str] | None = None,
        workers: int = 2,
        session: InferenceSession | None = None,
    ) -> None:
        check_count('workers', workers)
        session = session or open_session(path, threads, providers)
        try:
            self._take(session, path)
        except (KeyError, ValueError, TypeError) as error:
            raise UserError(
                f'{path}: its metadata cannot be used ({type(error).__name__}: {error}); write it '
                'again with "selnext-mm export"'
            ) from error
        self.workers = workers

    def _take(self, session: InferenceSession, path: str | Path) -> None:
        meta = session.metadata
        if 'part' not in meta:
            raise UserError(f'{path} was not written by "selnext-mm export": it lacks metadata')
        if meta['part'] != self.part:
            raise UserError(f'{path} holds a {meta["part"]}, not a {self.part}')
        if 'pipeline' not in meta:
            raise UserError(
                f'{path} does not say how images are prepared: '
                + meta.get('pipeline_missing', 'export it again with this version of selnext-mm')
            )
        if set(session.inputs) != set(self.inputs) or set(self.outputs) - set(session.outputs):
            raise UserError(
                f'{path} takes {", ".join(session.inputs)} and gives {", ".join(session.outputs)}; '
                f'a {self.part} of "selnext-mm export" takes {", ".join(self.inputs)} and gives '
                f'{", ".join(self.outputs)}. Write it again with "selnext-mm export"'
            )
        self.path, self.session, self.metadata = Path(path), session, meta
        self.classes: tuple[str, ...] = tuple(json.loads(meta['classes']))
        self.steps: list[dict[str, Any]] = json.loads(meta['pipeline'])
        self.rgb = meta['channels'] == 'RGB'

    @property
    def runtime(self) -> str:
        """Name and details of the program that runs the model."""
        return self.session.name

    def __call__(self, images: Images) -> list[dict]:
        """One record per image, in order, as ``selnext_mm.inference.predict`` returns them.

        ``images`` are files, folders (with all below them) and globs, or images as OpenCV reads
        them: (H, W, 3) uint8, BGR. The record of a file that cannot be read has an ``error``.

        Raises:
            UserError: if there are no images, or an array is not an image.
        """
        if isinstance(images, str | Path | np.ndarray) or not isinstance(images, Iterable):
            images = [images]
        entries = list(images)
        for entry in entries:
            if not isinstance(entry, str | Path | ImageFile | np.ndarray):
                raise UserError(
                    f'a {type(entry).__name__} is neither a name nor a BGR array; of a PIL image '
                    "give np.asarray(image.convert('RGB'))[..., ::-1]"
                )
        if any(isinstance(entry, np.ndarray) for entry in entries):
            return [
                r
                for e in entries
                for r in ([self._record(e)] if isinstance(e, np.ndarray) else self(e))
            ]
        records: list[dict] = []
        self.run(list_images(entries), lambda record, _: records.append(record))
        for record in records:
            del record['index']
        return records

    def run(
        self, images: Sequence[ImageFile], on_image: Callable[[dict, np.ndarray | None], None]
    ) -> None:
        """Call ``on_image(record, pixels)`` for every image, in order.

        ``record`` has the image's position as ``index``; ``pixels`` is BGR, or None with an error.
        """
        for index, (image, pixels, error) in enumerate(self.pictures(images)):
            record = dict(index=index, file=image.name, path=str(image.path))
            try:
                record |= dict(error=error) if error else self._record(pixels)
            except UnpreparedError as problem:
                record, pixels = record | dict(error=str(problem)), None
            on_image(record, pixels)

    def pictures(self, images: Sequence[ImageFile]) -> Iterator[tuple]:
        """(file, BGR pixels, error) of each image, in order; the next files are read ahead."""

        def load(image: ImageFile) -> tuple:
            error = why_unreadable(image.path)
            try:
                return image, None if error else read_picture(image.path), error
            # An error in one image must not stop the others.
            except Exception as problem:
                return image, None, why_unprepared(problem)

        with ThreadPoolExecutor(self.workers) as pool:
            waiting: deque = deque()
            try:
                for image in images:
                    waiting.append(pool.submit(load, image))
                    if len(waiting) > 2 * self.workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _record(self, pixels: np.ndarray) -> dict:
        good = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
        if not good or pixels.dtype != np.uint8:
            raise UserError(
                f'an array of {pixels.dtype} {pixels.shape} is not an image; expected uint8 of '
                '(height, width, 3), BGR as cv2.imread returns it'
            )
        height, width = pixels.shape[:2]
        return dict(width=width, height=height, **{self.key: self.find(pixels)})

    def prepare(self, pixels: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 of a BGR image, resized and in the channel order of the model."""
        pixels = prepare(pixels, self.steps)
        return np.ascontiguousarray(pixels[..., ::-1] if self.rgb else pixels)

    def find(self, pixels: np.ndarray) -> list[dict]:
        """The objects or classes of one BGR image."""
        return self.find_many([pixels])[0]

    def find_many(self, pictures: Sequence[np.ndarray]) -> list[list[dict]]:
        """:meth:`find` for several images; those of equal shape once prepared run as one batch."""
        inputs = [self.prepare(pixels) for pixels in pictures]
        return self.find_prepared(inputs, [pixels.shape[:2] for pixels in pictures])

    def find_prepared(
        self, inputs: Sequence[np.ndarray], sizes: Sequence[tuple[int, ...]]
    ) -> list[list[dict]]:
        """:meth:`find` for several prepared images; those of equal shape run as one batch.

        Args:
            inputs: as :meth:`prepare` returns them.
            sizes: height and width of the original images.
        """

        def run(places: list[int]) -> list[list[dict]]:
            return self._batch(np.stack([inputs[i] for i in places]), [sizes[i] for i in places])

        return run_by_shape([x.shape for x in inputs], run)

    def feed(self, inputs: np.ndarray, sizes: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
        """Inputs of the file, from images (N, h, w, 3) and sizes as in :meth:`find_prepared`."""
        raise NotImplementedError

    def _batch(self, inputs: np.ndarray, sizes: list[tuple[int, ...]]) -> list[list[dict]]:
        """:meth:`find_prepared` for one batch (N, h, w, 3)."""
        raise NotImplementedError


class Detector(FileModel):
    """A detector from a file of ``selnext-mm export --to onnx`` or ``--to openvino``.

    ``detector(images)`` gives dicts with ``instances``: ``category``, ``label``, ``score``,
    ``bbox`` (x, y, w, h in pixels) and, with a mask head, ``segmentation`` (compressed RLE).
    All instances above the model's own score threshold are returned. ``detector.thresholds`` has
    for each class the lowest score that is worth showing, if ``selnext-mm export --thresholds``
    stored them; else it is None.
    """

    part, key = 'detector', 'instances'
    inputs, outputs = ('images', 'sizes'), ('boxes', 'scores', 'labels', 'image_index')

    def _take(self, session: InferenceSession, path: str | Path) -> None:
        super()._take(session, path)
        self.thresholds = stored_thresholds(self.metadata.get('class_thresholds'))

    def feed(self, inputs: np.ndarray, sizes: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
        return dict(images=inputs, sizes=np.array(sizes, dtype=np.int64))

    def _batch(self, inputs: np.ndarray, sizes: list[tuple[int, ...]]) -> list[list[dict]]:
        found = self.session.run(self.feed(inputs, sizes))
        result: list[list[dict]] = [[] for _ in sizes]
        for i, (box, score, label, image) in enumerate(
            zip(*(found[name] for name in self.outputs), strict=True)
        ):
            x, y, right, bottom = box.tolist()
            place = dict(label=int(label), score=float(score), bbox=[x, y, right - x, bottom - y])
            item = dict(category=self.classes[label], **place)
            if 'masks' in found:
                height, width = sizes[image]
                threshold = float(self.metadata['mask_threshold'])
                mask = paste(found['masks'][i], box, height, width, threshold)
                item['segmentation'] = run_lengths(mask)
            result[image].append(item)
        return result


class Classifier(FileModel):
    """A classifier from a file of ``selnext-mm export --to onnx`` or ``--to openvino``.

    ``classifier(images)`` gives dicts with ``classes``: ``category``, ``label`` and ``score`` of
    the ``top_k`` best.
    """

    part, key = 'classifier', 'classes'
    inputs, outputs = ('images',), ('logits',)

    def __init__(self, path: str | Path, top_k: int = 5, **options) -> None:
        check_count('top_k', top_k)
        super().__init__(path, **options)
        self.top_k = top_k
        if self.metadata.get('activation') != 'softmax':
            raise UserError(
                f'{path}: only classifiers whose scores are the softmax of their logits run here'
            )
        mean, std = (np.float32(json.loads(self.metadata[k])) for k in ('mean', 'std'))
        inside = self.metadata['normalized_inside'] == 'true'
        self._mean, self._std = (0, 1) if inside else (mean, std)

    def feed(self, inputs: np.ndarray, sizes: list[tuple[int, ...]]) -> dict[str, np.ndarray]:
        x = (inputs.astype(np.float32) - self._mean) / self._std
        return dict(images=np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype=np.float32))

    def _batch(self, inputs: np.ndarray, sizes: list[tuple[int, ...]]) -> list[list[dict]]:
        result = []
        for logits in self.session.run(self.feed(inputs, sizes))['logits']:
            scores = np.exp(logits - logits.max())
            scores = scores / scores.sum()
            best = np.argsort(-scores, kind='stable')[: self.top_k].tolist()
            result.append(
                [dict(category=self.classes[i], label=i, score=float(scores[i])) for i in best]
            )
        return result


def open_model(path: str | Path, **options) -> Detector | Classifier:
    """Open a file as a :class:`Detector` or :class:`Classifier`, according to its metadata.

    ``top_k`` is for classifiers and ignored for detectors; both take the other options.

    Raises:
        UserError: for a file that cannot be opened or is neither.
    """
    top_k = options.pop('top_k', 5)
    session = open_session(path, options.get('threads'), options.get('providers'))
    if session.metadata.get('part') == 'classifier':
        return Classifier(path, top_k=top_k, session=session, **options)
    return Detector(path, session=session, **options)
