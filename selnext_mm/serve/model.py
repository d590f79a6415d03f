"""The interface that the server needs from a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class ServedModel(Protocol):
    """What ``runtime.FileModel`` and ``inference.ServedPredictor`` have in common.

    ``prepare`` is called in several threads, ``find_prepared`` in one.
    """

    part: str  # 'detector' or 'classifier'
    key: str  # key of an image's results: 'instances' or 'classes'
    path: Path  # its name is the model's
    classes: tuple[str, ...]
    thresholds: tuple[float, ...] | None  # lowest score of each class, if the model has them
    metadata: dict[str, str]

    @property
    def runtime(self) -> str:
        """Name and details of the program that runs the model."""
        ...

    def prepare(self, pixels: np.ndarray) -> Any:
        """The model's input of one BGR (H, W, 3) uint8 image."""
        ...

    def find_prepared(
        self, inputs: Sequence[Any], sizes: Sequence[tuple[int, ...]]
    ) -> list[list[dict]]:
        """The objects or classes of several prepared images of (height, width) ``sizes``."""
        ...
