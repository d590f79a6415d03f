"""A checkpoint behind the interface that the server needs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from selnext_mm.checkpoints.hub import local_path, sha256
from selnext_mm.errors import UserError
from selnext_mm.inference.batching import run_by_shape
from selnext_mm.inference.categories import find_ids
from selnext_mm.inference.predictor import Loaded, Predictor

# How the server decodes images. (None is mmcv's default, which is OpenCV as well.)
DECODING = dict(color_type=('color',), imdecode_backend=('cv2', None))


def check_reading(step: Any, config: str | Path) -> None:
    """Raise :class:`UserError` unless ``step`` of a pipeline reads images as the server does."""
    for name, known in DECODING.items():
        if getattr(step, name, known[0]) not in known:
            raise UserError(
                f'the test pipeline of {config} reads images with {name}={getattr(step, name)}; '
                f'a server decodes them with {name}={known[0]} alone. "selnext-mm predict" reads '
                'files as the pipeline says'
            )
    if type(step).__name__ != 'LoadImageFromFile':
        raise UserError(
            f'the test pipeline of {config} reads images with {type(step).__name__}; a server '
            'takes one colour image per request, as LoadImageFromFile reads it'
        )


def lowest_score(model: nn.Module) -> float | None:
    """The score from which on a detector returns objects; None if its config does not say."""
    settings = getattr(getattr(model, 'roi_head', model), 'test_cfg', None) or {}
    return settings.get('score_thr')


class ServedPredictor:
    """A config and a checkpoint in PyTorch, for :func:`selnext_mm.serve.create_app`.

    >>> app = create_app(ServedPredictor('my_config.py', 'epoch_36.pth', device='cuda:0'))

    Images are prepared, run and answered by :class:`~selnext_mm.inference.Predictor`, so an image
    sent alone gets the numbers of ``selnext-mm predict``.

    Args:
        config, checkpoint, options: as for :class:`~selnext_mm.inference.Predictor`, except
        ``batch_size`` and ``workers``, which the server sets itself.
        threads: of PyTorch, in the whole process; by default as many as the machine has cores.

    Raises:
        UserError: see :class:`~selnext_mm.inference.Predictor`; and for a test pipeline that
            does not read colour images by OpenCV, as the server does.
    """

    thresholds: tuple[float, ...] | None = None  # no checkpoint has them

    def __init__(
        self, config: str | Path, checkpoint: str | Path, threads: int | None = None, **options
    ) -> None:
        if threads is not None:
            if threads < 1:
                raise UserError(f'threads={threads}; expected 1 or more')
            torch.set_num_threads(threads)
        self.predictor = Predictor(config, checkpoint, **options)
        check_reading(self.predictor.read.transforms[0], config)
        loaded = self.predictor.loaded
        self.path, self.classes = Path(checkpoint).absolute(), loaded.classes
        self.runtime = f'PyTorch on {self.predictor.device}'
        self.metadata = dict(checkpoint_sha256=sha256(local_path(checkpoint)))
        self.part, self.key = 'classifier', 'classes'
        if not loaded.is_classifier:
            self.part, self.key = 'detector', 'instances'
            numbers = find_ids(loaded.cfg, loaded.classes).categories
            self.metadata['category_ids'] = json.dumps([numbers[name] for name in self.classes])
            if (score := lowest_score(loaded.model)) is not None:
                self.metadata['score_threshold'] = repr(float(score))

    def prepare(self, pixels: np.ndarray) -> Loaded:
        """The model's input of one BGR (H, W, 3) uint8 image."""
        # The full-size image is not needed while it waits for the model.
        return replace(self.predictor.load(pixels), pixels=None)

    def find_prepared(
        self, inputs: Sequence[Loaded], sizes: Sequence[tuple[int, ...]]
    ) -> list[list[dict]]:
        """The objects or classes of several prepared images, as ``predict`` returns them.

        Images of one input shape run as one batch.

        Args:
            inputs: as :meth:`prepare` returns them.
            sizes: height and width of the original images; the inputs contain them, too.

        Raises:
            UserError: if the device does not have enough memory for a batch.
        """
        return run_by_shape(
            [x.shape for x in inputs],
            lambda places: self.predictor.find_loaded([inputs[i] for i in places]),
        )
