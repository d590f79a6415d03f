"""A detector that runs on large images slice by slice, with or without PyTorch."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from selnext_mm.inference.images import ImageFile, UnpreparedError
from selnext_mm.slicing import Slicing, find_in_slices


class PictureModel(Protocol):
    """What ``inference.Predictor`` and ``runtime.Detector`` have in common."""

    def find_many(self, pictures: Sequence[np.ndarray]) -> list[list[dict]]:
        """The objects of BGR images of one shape."""
        ...

    def pictures(self, images: Sequence[ImageFile]) -> Iterator[tuple]:
        """(file, BGR pixels, error) of each image, in order; the next ones are read ahead."""
        ...


class Sliced:
    """Runs ``model`` on slices of every image; all other attributes are those of ``model``.

    >>> predictor = Sliced(Predictor('my_config.py', 'epoch_36.pth'), Slicing(640, 0.2))
    >>> predictor.find(cv2.imread('large.jpg'))

    Args:
        model: a detector: ``inference.Predictor`` or ``runtime.Detector``.
        slicing: see :class:`selnext_mm.slicing.Slicing`.
    """

    def __init__(self, model: PictureModel, slicing: Slicing) -> None:
        self.model, self.slicing = model, slicing

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def find(self, pixels: np.ndarray) -> list[dict]:
        """The instances of one BGR (H, W, 3) image."""
        return find_in_slices(pixels, self.model.find_many, self.slicing)

    def run(
        self, images: Sequence[ImageFile], on_image: Callable[[dict, np.ndarray | None], None]
    ) -> None:
        """Call ``on_image(record, pixels)`` for every image, in order, as ``model.run`` does."""
        for index, (image, pixels, error) in enumerate(self.model.pictures(images)):
            record = dict(index=index, file=image.name, path=str(image.path))
            if error:
                record['error'] = error
            else:
                height, width = pixels.shape[:2]
                try:
                    record |= dict(width=width, height=height, instances=self.find(pixels))
                except UnpreparedError as problem:
                    record, pixels = record | dict(error=str(problem)), None
            on_image(record, pixels)
