"""mmengine's checkpoint hook, made safe against interruptions."""

import os
import signal
import time
from collections import deque
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS
from mmengine.runner import find_latest_checkpoint
from mmengine.runner.base_loop import BaseLoop

from selnext_mm.disk import temporary_files, write_text
from selnext_mm.engine.distributed.collectives import from_first, highest
from selnext_mm.engine.hooks.finite_loss import check_weights
from selnext_mm.engine.resume.accumulation import at_update, partial_gradients, put_gradients
from selnext_mm.engine.resume.lineage import POINTER, start_run
from selnext_mm.engine.resume.loops import ResumableLoop
from selnext_mm.engine.resume.run_files import LateRemoval, check_lists, forget_others
from selnext_mm.engine.signals import CODES, Stopped, StopSignals, leave_marker, shield_workers
from selnext_mm.errors import UserError
from selnext_mm.text import counted, preview

STATE = 'resume_state'  # key in the checkpoint
INTERMEDIATE = 'iter_{}.pth'
KEEP_INTERMEDIATE = 2


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """``CheckpointHook`` that survives kills, full disks and signals, and resumes exactly.

    - A checkpoint is written to a temporary file, synced, read back and renamed. Then the pointer
    ``last_checkpoint`` moves, then older ones are removed. mmengine's hook removes first.
    - With a ``Resumable...TrainLoop`` the position in the data and the random states of all
      processes are stored and restored: the resumed run equals the uninterrupted one. A checkpoint
      from before an evaluation is written again after it, with its results; if that did not
      happen, the resumed run repeats the evaluation.
    - Between the regular checkpoints there are intermediate ones, ``iter_N.pth``: never more
      than ``every_iters`` iterations or ``every_minutes`` minutes are lost. The two newest are
      kept until a regular one replaces them.
    - After SIGTERM, SIGUSR1 or Ctrl-C the iteration is finished and saved, and the run ends with
    :class:`~selnext_mm.engine.signals.Stopped`. During an evaluation it ends at once if the
    state from before the evaluation has been saved.
    - Weights with NaN or inf are never written.

    Args:
        every_iters: at most this many iterations between two checkpoints; 0 for no limit.
        every_minutes: at most this many minutes between two checkpoints; 0 for no limit.
        stop_on_signals: whether to handle the three signals.
        args, kwargs: of mmengine's ``CheckpointHook``.

    Raises:
        UserError: if a checkpoint cannot be written (the message names path and free space), or
        the weights are not finite.
    """

    def __init__(
        self,
        *args,
        every_iters: int = 0,
        every_minutes: float = 0,
        stop_on_signals: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        if every_iters < 0 or every_minutes < 0:
            raise ValueError(
                f'every_iters={every_iters!r}, every_minutes={every_minutes!r}; expected >= 0'
            )
        self.every_iters, self.every_minutes = every_iters, every_minutes
        self.signals = StopSignals() if stop_on_signals else None
        self.run_id: str | None = None
        self.resumed_from: str | None = None
        self._loaded: dict | None = None  # resume_state and meta of the resumed checkpoint
        self._state: dict | None = None  # to be stored in the next checkpoint
        self._saved: dict | None = None  # name, meta and kind of the last checkpoint
        self._saved_iter, self._saved_time = 0, time.monotonic()

    # resuming

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if runner._resume:
            self._loaded = dict(state=checkpoint.get(STATE), meta=dict(checkpoint['meta']))

    def before_train(self, runner) -> None:
        resumed = None
        if self._loaded is not None:
            path = runner._load_from or find_latest_checkpoint(runner.work_dir)
            resumed = (Path(path), self._loaded['meta'])
            self.resumed_from = path
        check_lists(runner.message_hub)
        super().before_train(runner)
        forget_others(self, runner.message_hub, resumed)
        loop = runner.train_loop
        self.position = loop.position if isinstance(loop, ResumableLoop) else None
        if self.position is None and (self.every_iters or self.every_minutes):
            runner.logger.warning(
                f'no checkpoints within an epoch: {type(loop).__name__} cannot resume there. '
                "train_cfg=dict(type='ResumableEpochBasedTrainLoop') can, or "
                "'ResumableIterBasedTrainLoop'; tools/train.py puts them in"
            )
            self.every_iters = self.every_minutes = 0
        if self._loaded is not None:
            self._restore(runner, self._loaded['state'])
        self.run_id = start_run(runner.work_dir, resumed)
        if is_main_process():
            for path in temporary_files(self.out_dir):
                runner.logger.info(f'removed {path.name}: a write that was cut off')
                path.unlink(missing_ok=True)
        self._saved_iter, self._saved_time = runner.iter, time.monotonic()
        if self.signals:
            self.signals.install()
            for each in filter(None, (loop, runner.val_loop)):
                shield_workers(each.dataloader)

    def _restore(self, runner, state: dict | None) -> None:
        if self.position is None:
            return
        if state is None:
            runner.logger.warning(
                'this checkpoint holds no random states (another tool wrote it): the run goes '
                'on, but not to the numbers that it would have had'
            )
            return
        self.position.restore(state)
        put_gradients(runner, state.get('gradients'))
        if not state['validated']:
            # A repeated evaluation rewrites the checkpoint that it belongs to.
            saved = state['saved']
            if saved and os.path.basename(saved['name']) == saved['name']:
                self._saved = saved

    def after_run(self, runner) -> None:
        self.give_back_signals()

    def give_back_signals(self) -> None:
        """Restore the signal handlers from before the training; may be called twice."""
        if self.signals:
            self.signals.remove()

    # when to save

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        step = runner.iter + 1
        minutes = (time.monotonic() - self._saved_time) / 60
        due: int = bool(self.every_minutes) and minutes >= self.every_minutes
        due = due or 0 < self.every_iters <= step - self._saved_iter
        received = self.signals.received if self.signals else 0
        received, due = highest(received, due)
        if not (received or due) or not at_update(runner):
            return
        if self.position is not None and not self._is_saved(runner.epoch, step):
            runner.logger.info(f'Saving checkpoint at {counted(step, "iteration")}')
            self._save_intermediate(runner, step)
        if received:
            self._stop(runner, received, together=True)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if not (self.signals and self.signals.received and self._is_saved_now(runner)):
            return
        # Without synchronising processes: nothing is left to save.
        self._stop(runner, self.signals.received)

    def after_val_epoch(self, runner, metrics=None) -> None:
        if not isinstance(runner._train_loop, BaseLoop):
            return  # an evaluation without training
        if self.position is not None:
            self.position.validated = True
        if self.save_best:
            check_weights(runner)
        before, backend = self._is_saved_now(runner), self.file_backend
        self.file_backend = LateRemoval(backend)
        try:
            super().after_val_epoch(runner, metrics)
            self._remove_old_best()
        finally:
            self.file_backend = backend
        if before and self.position is not None and not self._saved['validated']:
            self._save_again(runner)

    def _save_best_checkpoint(self, runner, metrics) -> None:
        # Only a hook with save_best has these attributes, but mmengine calls this for all.
        wanted = [k for k in getattr(self, 'key_indicators', ()) if k not in ('auto', *metrics)]
        if wanted and metrics:
            raise UserError(
                f'save_best = {wanted[0]!r}: the validation gives no metric of that name; it gives '
                f'{preview(sorted(metrics), 16)}. Correct default_hooks.checkpoint.save_best, and '
                'go on with --resume'
            )
        # 'auto' takes the first metric: with AP per class that would be the AP of one class.
        overall = {k: v for k, v in metrics.items() if not k.endswith('_precision')}
        super()._save_best_checkpoint(runner, {**overall, **metrics})

    def _remove_old_best(self) -> None:
        if isinstance(self.file_backend, LateRemoval):
            present = {getattr(self, 'best_ckpt_path', None)}
            present.update(getattr(self, 'best_ckpt_path_dict', {}).values())
            self.file_backend.flush(present)

    def _is_saved(self, epoch: int, step: int) -> bool:
        meta = self._saved and self._saved['meta']
        return bool(meta) and (meta['epoch'], meta['iter']) == (epoch, step)

    def _is_saved_now(self, runner) -> bool:
        """Whether there is a checkpoint of the current iteration."""
        return isinstance(runner._train_loop, BaseLoop) and self._is_saved(
            runner.epoch, runner.iter
        )

    # saving

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict) -> None:
        """A regular checkpoint; mmengine's code calls this."""
        self._remove_old_best()  # its successor has been written
        kept = []
        if self.max_keep_ckpts > 0:
            # Includes those removed below: after a kill in between, before_train removes them.
            kept = [*(k for k in self.keep_ckpt_ids if k != step), step]
            runner.message_hub.update_info('keep_ckpt_ids', list(kept))
        self._write(runner, self.filename_tmpl.format(step), meta, regular=True)
        while self.max_keep_ckpts > 0 and len(kept) > self.max_keep_ckpts:
            self._remove(self.filename_tmpl.format(kept.pop(0)))
        if self.max_keep_ckpts > 0:
            self.keep_ckpt_ids = deque(kept, self.max_keep_ckpts)
            runner.message_hub.update_info('keep_ckpt_ids', kept)
        self._prune_intermediate(runner, 0)

    def _save_intermediate(self, runner, step: int) -> None:
        steps = [*runner.message_hub.get_info('intermediate_ckpts', []), step]
        runner.message_hub.update_info('intermediate_ckpts', steps)
        meta = dict(epoch=runner.epoch, iter=step)
        self._write(runner, INTERMEDIATE.format(step), meta, regular=False)
        self._prune_intermediate(runner, KEEP_INTERMEDIATE)

    def _prune_intermediate(self, runner, keep: int) -> None:
        steps = list(runner.message_hub.get_info('intermediate_ckpts', []))
        while len(steps) > keep:
            name = INTERMEDIATE.format(steps.pop(0))
            if name != self._saved['name']:
                self._remove(name)
        runner.message_hub.update_info('intermediate_ckpts', steps)

    def _save_again(self, runner) -> None:
        saved = self._saved
        self._write(runner, saved['name'], dict(saved['meta']), saved['regular'])

    def _remove(self, name: str) -> None:
        path = self.file_backend.join_path(self.out_dir, name)
        if not is_main_process():
            return
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # deepspeed's are folders
            self.file_backend.rmtree(path)

    def _write(self, runner, name: str, meta: dict, regular: bool) -> None:
        """Write one checkpoint and the pointer. All processes take part; if one fails, all stop."""
        check_weights(runner)
        meta = {key: meta[key] for key in ('epoch', 'iter')}
        self._saved = dict(name=name, meta=dict(meta), regular=regular, validated=False)
        if self.position is not None:
            self._state = self.position.state()
            self._saved['validated'] = self._state['validated']
            self._state['saved'] = dict(self._saved)
            self._state['gradients'] = partial_gradients(runner)
        former = runner.message_hub.get_info('last_ckpt')
        path = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', path)
        error = None
        try:
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                write_text(Path(runner.work_dir, POINTER), path)
        except UserError as caught:
            error = f'{caught}. Last good checkpoint: {former or "none yet"}'
        finally:
            self._state = None
        error = from_first(error)
        if error:
            raise UserError(error)
        self.last_ckpt = path
        self._saved_iter, self._saved_time = meta['iter'], time.monotonic()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        checkpoint['meta']['run_id'] = self.run_id
        if self._state is not None:
            checkpoint[STATE] = self._state

    def _stop(self, runner, number: int, together: bool = False) -> None:
        name = signal.Signals(number).name
        last = self.last_ckpt or self.resumed_from or 'none, nothing is saved'
        runner.logger.warning(
            f'told to stop by {name}; last checkpoint: {last}. Start again with --resume'
        )
        self.signals.remove()
        leave_marker(number, together)
        raise Stopped(CODES[number])
