"""The last epochs without Mosaic and MixUp, whose images are unlike real test images."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

MIXING = ('Mosaic', 'RandomAffine', 'MixUp')


@HOOKS.register_module()
class UnmixedImagesHook(Hook):
    """From ``first_epoch`` on, skip the transforms ``skip`` of a ``MultiImageMixDataset``.

    It depends only on the epoch, so a resumed run continues like an uninterrupted one. Persistent
    workers keep the data set that they were started with, so the loader needs
    ``persistent_workers=False``.

    Source: YOLOX ("Exceeding YOLO Series in 2021"), which switches both off for the last 15 of 300
    epochs. mmdet's hook for this also sets the loss of YOLOX's head.

    Args:
        first_epoch: counted from 0.
        skip: types of transforms.

    Raises:
        ValueError: at the start of training, for any other data set or persistent workers.
    """

    def __init__(self, first_epoch: int, skip: tuple[str, ...] = MIXING) -> None:
        self.first_epoch, self.skip = first_epoch, tuple(skip)

    def before_train(self, runner) -> None:
        loader = runner.train_dataloader
        if not hasattr(loader.dataset, 'update_skip_type_keys'):
            kind = type(loader.dataset).__name__
            raise ValueError(f'UnmixedImagesHook needs a MultiImageMixDataset, not {kind}')
        if loader.persistent_workers:
            raise ValueError('UnmixedImagesHook needs train_dataloader.persistent_workers=False')

    def before_train_epoch(self, runner) -> None:
        if runner.epoch == self.first_epoch:
            runner.logger.info(f'from here on without {", ".join(self.skip)}')
        if runner.epoch >= self.first_epoch:
            runner.train_dataloader.dataset.update_skip_type_keys(self.skip)
