"""What the PyTorch model finds when its NMS thresholds move by a hundred-thousandth.

NMS decides by one comparison, IoU > threshold. Two programs that run the same model differ by about
1e-6 in their boxes, so a pair of boxes whose IoU is that close to the threshold can go either way.
The PyTorch model alone proves such a tie, without the file: with its thresholds moved by
:data:`NUDGE` it gives the other answer itself.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import nn

from selnext_mm.inference.predictor import Predictor

NUDGE = 1e-5  # of an IoU


def suppressions(model: nn.Module) -> list[dict[str, Any]]:
    """The NMS configs of a detector, each once: that of the RPN and that of the last head."""
    found: list[dict[str, Any]] = []
    for name in ('rpn_head', 'roi_head', 'bbox_head'):
        cfg = getattr(getattr(model, name, None), 'test_cfg', None)
        nms = cfg.get('nms') if cfg else None
        if nms is not None and not any(nms is other for other in found):
            found.append(nms)
    return found


@contextlib.contextmanager
def moved(configs: list[dict[str, Any]], shifts: tuple[float, ...]) -> Iterator[None]:
    """Add ``shifts`` to the thresholds of ``configs`` within the block."""
    before = [config['iou_threshold'] for config in configs]
    try:
        for config, value, shift in zip(configs, before, shifts, strict=True):
            config['iou_threshold'] = value + shift
        yield
    finally:
        for config, value in zip(configs, before, strict=True):
            config['iou_threshold'] = value


def answers(predictor: Predictor, path: Path) -> Iterator[list[dict]]:
    """The instances of one image for every way to move the thresholds: two, or four with an RPN.

    Each is computed lazily.
    """
    configs = suppressions(predictor.loaded.model)
    for shifts in itertools.product((-NUDGE, NUDGE), repeat=len(configs)):
        with moved(configs, shifts):
            (record,) = predictor([path])
        yield record['instances']
