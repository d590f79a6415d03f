"""What the PyTorch model finds when its NMS thresholds or first scores move by a rounding.

NMS decides by one comparison, IoU > threshold. Two programs that run the same model differ by about
1e-6 in their boxes, so a pair of boxes whose IoU is that close to the threshold can go either way.
The PyTorch model alone proves such a tie, without the file: with its thresholds moved by
:data:`NUDGE` it gives the other answer itself.

The first scores, those of all positions, decide which boxes NMS sees, and in which order. Where an
image is uniform, many of them are equal, and any order is right. With noise of :data:`NOISE` on
these logits, less than what two programs differ by, the model shows other orders.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selnext_mm.inference.predictor import Predictor

NUDGE = 1e-5  # of an IoU
NOISE = 1e-6  # of a logit
ORDERS = 8  # that are tried


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


def first_scores(model: nn.Module) -> nn.Module | None:
    """The layer whose logits, of all positions, are sorted first: of the RPN or of RetinaNet."""
    for name, layer in (('rpn_head', 'rpn_cls'), ('bbox_head', 'retina_cls')):
        found = getattr(getattr(model, name, None), layer, None)
        if isinstance(found, nn.Module):
            return found
    return None


@contextlib.contextmanager
def noisy(layer: nn.Module, seed: int) -> Iterator[None]:
    """Add noise of at most :data:`NOISE` to what ``layer`` computes within the block."""
    generator = torch.Generator().manual_seed(seed)

    def add(module: nn.Module, args: tuple, logits: Tensor) -> Tensor:
        noise = torch.rand(logits.shape, generator=generator) * 2 - 1
        return logits + NOISE * noise.to(logits)

    handle = layer.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def answers(predictor: Predictor, path: Path) -> Iterator[list[dict]]:
    """The instances of one image for every way to move the thresholds: two, or four with an RPN.

    Then those for :data:`ORDERS` kinds of noise on the first scores. Each is computed lazily.
    """
    configs = suppressions(predictor.loaded.model)
    for shifts in itertools.product((-NUDGE, NUDGE), repeat=len(configs)):
        with moved(configs, shifts):
            (record,) = predictor([path])
        yield record['instances']
    layer = first_scores(predictor.loaded.model)
    for seed in range(ORDERS) if layer is not None else ():
        with noisy(layer, seed):
            (record,) = predictor([path])
        yield record['instances']
