"""mmengine's training loops, able to resume exactly in the middle of an epoch."""

from collections.abc import Callable
from typing import Any

from mmengine.registry import LOOPS
from mmengine.runner.loops import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader

from selnext_mm.engine.resume.data_position import DataPosition


class ResumableLoop:
    """What both loops share: the position in the data and the evaluation.

    ``SafeCheckpointHook`` stores ``position`` in checkpoints and restores it. The evaluation
    has its own random numbers: whether and when it runs does not change the training.
    """

    position: DataPosition
    # From mmengine's loop, which comes later in the MRO.
    runner: Any
    _iter: int
    _decide_current_val_interval: Callable[[], None]

    def _validation_due(self) -> bool:
        raise NotImplementedError

    def _say_if_done(self, done: int, total: int, unit: str) -> None:
        if done >= total:
            self.runner.logger.warning(
                f'nothing is left to train: {done} of {total} {unit} are done. '
                f'To go on, set train_cfg.max_{unit} to more'
            )

    def _validate(self) -> None:
        self._decide_current_val_interval()
        if not self._validation_due():
            return
        with self.position.random_state_kept():
            self.runner.val_loop.run()

    def _validate_first(self) -> None:
        """Run the evaluation that is missing because the run was interrupted in or before it."""
        if self._iter > 0 and self.position.resumed_unvalidated:
            self._validate()


def _in_tuples(arguments: dict) -> dict:
    """The pairs of ``dynamic_intervals`` as tuples, which mmengine requires: YAML, JSON and
    --cfg-options have only lists."""
    pairs = arguments.get('dynamic_intervals')
    return arguments if pairs is None else {**arguments, 'dynamic_intervals': [*map(tuple, pairs)]}


@LOOPS.register_module()
class ResumableEpochBasedTrainLoop(ResumableLoop, EpochBasedTrainLoop):
    """``EpochBasedTrainLoop`` that resumes exactly, also in the middle of an epoch.

    Arguments are those of mmengine's loop. The sampler skips what has been trained on, without
    loading any image.
    """

    def __init__(self, runner, dataloader: DataLoader | dict, max_epochs: int, **kwargs) -> None:
        super().__init__(runner, dataloader, max_epochs, **_in_tuples(kwargs))
        self.position = DataPosition(self.dataloader, runner.seed)

    def _validation_due(self) -> bool:
        return (
            self.runner.val_loop is not None
            and not self.position.in_pass
            and self._epoch >= self.val_begin
            and (self._epoch % self.val_interval == 0 or self._epoch == self._max_epochs)
        )

    def run(self):
        self.runner.call_hook('before_train')
        self._say_if_done(self._epoch, self._max_epochs, 'epochs')
        self._validate_first()
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._validate()
        self.runner.call_hook('after_train')
        return self.runner.model

    def run_epoch(self) -> None:
        self.position.begin()
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for index, batch in self.position:
            self.run_iter(index, batch)
        self.position.end()
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


class _Unstarted:
    """A loader whose workers are not started by the constructor of mmengine's loop."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader

    def __iter__(self):
        return iter(())

    def __getattr__(self, name: str):
        return getattr(self.loader, name)


@LOOPS.register_module()
class ResumableIterBasedTrainLoop(ResumableLoop, IterBasedTrainLoop):
    """``IterBasedTrainLoop`` that resumes exactly and at once.

    Arguments are those of mmengine's loop, which on resume loads all images up to the
    iteration again.
    """

    def __init__(self, runner, dataloader: DataLoader | dict, max_iters: int, **kwargs) -> None:
        if isinstance(dataloader, dict):
            different = runner._randomness_cfg.get('diff_rank_seed', False)
            dataloader = runner.build_dataloader(dataloader, runner.seed, different)
        super().__init__(runner, _Unstarted(dataloader), max_iters, **_in_tuples(kwargs))
        self.dataloader = dataloader
        self.position = DataPosition(dataloader, runner.seed)
        self.dataloader_iterator = self._batches()

    def _batches(self):
        """Endless batches, pass after pass."""
        while True:
            self.position.begin()
            if hasattr(self.position.sampler, 'set_epoch'):
                self.position.sampler.set_epoch(self.position.number)
            empty = True
            for _, batch in self.position:
                empty = False
                yield batch
            if empty and not self.position.in_pass:
                raise ValueError('the training data loader yields no batch')
            self.position.end()

    def _validation_due(self) -> bool:
        return (
            self.runner.val_loop is not None
            and self._iter >= self.val_begin
            and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
        )

    def run(self):
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._say_if_done(self._iter, self._max_iters, 'iters')
        self._validate_first()
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            self.run_iter(next(self.dataloader_iterator))
            self._validate()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model
