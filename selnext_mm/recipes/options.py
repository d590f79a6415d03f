"""The options of ``selnext-mm train --data`` and of :func:`selnext_mm.train`."""

from dataclasses import dataclass

from selnext_mm.checkpoints.hub import local_path
from selnext_mm.errors import UserError

STAGES = 4  # of every backbone


@dataclass
class Options:
    """Settings of the user; None leaves the choice to the recipe, which logs it.

    Attributes:
        epochs: passes over the training images.
        batch_size: images per update and process; the default lr scales with the total batch size.
        lr: the highest learning rate.
        image_size: longer side in pixels (detectors), side of the square (classifiers).
        workers: processes that load images.
        seed: of weights, order and augmentation, and of the choice of a validation split.
        patience: stop after this many epochs without improvement; 0 never stops early.
        weights: file or address to start from: of a backbone, or of a whole detector.
        freeze: number of first stages (of four) of the backbone that keep the ``weights``.
        multi_scale: train on images from half to one and a half times ``image_size``.
        mix: train on images combined from several: Mosaic and MixUp for boxes, Mixup and
            CutMix for classes.
        weight_decay: of AdamW.
        drop_path: rate of stochastic depth; the ResNets have none.
        clip_grad: largest norm of the gradient of an update; 0 clips nothing.
    """

    epochs: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    image_size: int | None = None
    workers: int | None = None
    seed: int = 0
    patience: int | None = None
    weights: str | None = None
    freeze: int | None = None
    multi_scale: bool = False
    mix: bool = False
    weight_decay: float | None = None
    drop_path: float | None = None
    clip_grad: float | None = None

    def check(self) -> None:
        """Raise :class:`UserError` for a value that no run can have."""
        for name, least in (
            ('epochs', 1),
            ('batch_size', 1),
            ('image_size', 32),
            ('workers', 0),
            ('patience', 0),
            ('seed', 0),
            ('freeze', 0),
            ('clip_grad', 0),
            ('weight_decay', 0),
            ('drop_path', 0),
        ):
            value = getattr(self, name)
            if value is not None and not least <= value < float('inf'):
                option = '--' + name.replace('_', '-')
                raise UserError(f'{option} {value}; expected {least} or more')
        if self.freeze and self.freeze > STAGES:
            raise UserError(f'--freeze {self.freeze}; expected 0 to {STAGES}, the number of stages')
        if self.freeze and not self.weights:
            raise UserError(
                f'--freeze {self.freeze} would keep random values; name weights to start from '
                '(--weights), or leave it out'
            )
        if self.lr is not None and not 0 < self.lr < 1:
            raise UserError(f'--lr {self.lr:g}; expected more than 0 and less than 1, as 1e-3')
        if self.drop_path is not None and self.drop_path >= 1:
            raise UserError(f'--drop-path {self.drop_path:g}; expected at least 0 and less than 1')
        if self.weights and '://' not in self.weights and not local_path(self.weights).is_file():
            raise UserError(
                f'--weights {self.weights}: no such file; name a checkpoint or an address, or '
                'leave it out to start from random weights'
            )
