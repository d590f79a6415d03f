"""Multi-resolution training: one image size per batch."""

import random
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import Tensor

SIDE_MULTIPLE = 32


def resize(images: Tensor, side: int) -> Tensor:
    """Images (..., H, W) at (side, side), bilinear with antialiasing, dtype and range kept."""
    if images.shape[-2:] == (side, side):
        return images
    batch = images if images.ndim == 4 else images[None]
    out = F.interpolate(batch.float(), (side, side), mode='bilinear', antialias=True)
    if not images.is_floating_point():
        out = out.round().clamp(0, 255)
    return out.to(images.dtype).reshape(*images.shape[:-2], side, side)


@HOOKS.register_module()
class BatchResizeHook(Hook):
    """Resize each training batch to one size, drawn at random from those of its epoch.

    ``schedule`` lists (first epoch, sides): ``[(0, (128, 160, 192, 224, 256, 288))]`` draws from
    six sizes throughout, ``[(0, (192,)), (280, (224,))]`` trains at 192 pixels and from epoch 280
    on at 224. The pipeline should deliver square images, ideally of the largest side.

    The draw depends only on ``seed`` and the iteration: all processes train at one size, and a
    resumed run continues like an uninterrupted one.

    Source: "Partial Convolution Meets Visual Attention", Table 7 ("Train res: random from
    ..."), read as per batch; the published code has the switch.

    Args:
        schedule: pairs of a first epoch, from 0, and the sides that are drawn from.
        seed: of the draw.

    Raises:
        ValueError: if the schedule does not start at epoch 0, is not sorted, or has a side that
            is not a positive multiple of 32.
    """

    priority = 'VERY_LOW'

    def __init__(self, schedule: Sequence[tuple[int, Sequence[int]]], seed: int = 0) -> None:
        self.schedule = [(int(first), tuple(sides)) for first, sides in schedule]
        firsts = [first for first, _ in self.schedule]
        sides = [side for _, choices in self.schedule for side in choices]
        empty = not all(choices for _, choices in self.schedule)
        if not firsts or firsts[0] != 0 or firsts != sorted(set(firsts)) or empty:
            raise ValueError(
                f'schedule={schedule!r}; expected pairs (first epoch, sides) in order, from epoch 0'
            )
        if any(side < SIDE_MULTIPLE or side % SIDE_MULTIPLE for side in sides):
            raise ValueError(f'schedule={schedule!r}; expected sides that are multiples of 32')
        self.seed = seed

    def side(self, epoch: int, iteration: int) -> int:
        """The side of the batch of ``iteration``, in ``epoch``."""
        sides = next(sides for first, sides in reversed(self.schedule) if epoch >= first)
        return random.Random(f'{self.seed} {iteration}').choice(sides)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        side = self.side(runner.epoch, runner.iter)
        inputs = data_batch['inputs']
        if isinstance(inputs, torch.Tensor):
            data_batch['inputs'] = resize(inputs, side)
        else:
            data_batch['inputs'] = [resize(image, side) for image in inputs]
