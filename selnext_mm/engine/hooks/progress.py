"""Progress of a training: one short line per log interval, and a bar on a terminal."""

import logging
import re
import sys
import time
from typing import TYPE_CHECKING

import psutil
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, LOG_PROCESSORS
from mmengine.runner import LogProcessor

if TYPE_CHECKING:
    from rich.progress import Progress

try:
    import resource  # not on Windows
except ImportError:
    resource = None

PARTS = 6  # at most this many parts of the loss are shown; all are in scalars.json


def memory_text() -> str:
    """Peak memory of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return f'{torch.cuda.max_memory_allocated() / 2**20:.0f} MB'
    if resource is None:
        memory = psutil.Process().memory_info()
        return f'{getattr(memory, "peak_wset", memory.rss) / 2**20:.0f} MB'
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f'{peak / (2**20 if sys.platform == "darwin" else 2**10):.0f} MB'


def rate_text(seconds: float) -> str:
    """0.25 -> '4.00 it/s'; 2.5 -> '2.50 s/it'."""
    if seconds <= 0:
        return '? it/s'
    return f'{1 / seconds:.2f} it/s' if seconds < 1 else f'{seconds:.2f} s/it'


def loss_text(scalars: dict) -> str:
    """'loss 3.577 (rpn_cls 0.548, cls 1.219)'; the parts only if they are few."""
    if 'loss' not in scalars:
        return ''
    parts = {k.removeprefix('loss_'): v for k, v in scalars.items() if 'loss' in k and k != 'loss'}
    text = f'loss {scalars["loss"]:.4f}'
    if 1 < len(parts) <= PARTS:
        text += ' (' + ', '.join(f'{k} {v:.3f}' for k, v in parts.items()) + ')'
    return text


@LOG_PROCESSORS.register_module()
class ConciseLogProcessor(LogProcessor):
    """Stock ``LogProcessor`` with a shorter line for training.

    ``Epoch(train) [1][ 50/200]  eta 0:08:34  3.40 it/s  1203 MB  lr 5.0e-04  loss 3.5769 (...)``.
    The scalars that go to ``scalars.json`` and to TensorBoard are those of the stock class.
    Waiting for data is shown if it takes more than a fifth of the time. The line of a validation
    leaves out the AP of each class, because a table above it has them.
    """

    def get_log_after_iter(self, runner, batch_idx: int, mode: str) -> tuple[dict, str]:
        scalars, line = super().get_log_after_iter(runner, batch_idx, mode)
        head = re.match(r'(?:Epoch|Iter)\(train\)\s*(?:\[[^\]]*\])+', line)
        if head is None or 'time' not in scalars:
            return scalars, line
        words = [head[0]]
        eta = re.search(r'eta: (.+?)  ', line)
        # Negative if a resumed run has shorter epochs than before.
        words += [f'eta {"0:00:00" if eta[1].startswith("-") else eta[1]}'] if eta else []
        words += [rate_text(scalars['time']), memory_text()]
        if scalars.get('data_time', 0) > 0.2 * scalars['time']:
            words.append(f'{scalars["data_time"] / scalars["time"]:.0%} waiting for data')
        words += [f'lr {scalars["lr"]:.2e}'] if 'lr' in scalars else []
        words.append(loss_text(scalars))
        return scalars, '  '.join(filter(None, words))

    def get_log_after_epoch(self, runner, batch: int, mode: str, *args, **kwargs) -> tuple:
        scalars, line = super().get_log_after_epoch(runner, batch, mode, *args, **kwargs)
        # AP of each class: CocoMetric has just printed the table of them.
        for key in (key for key in scalars if key.endswith('_precision')):
            line = re.sub(rf'  {re.escape(key)}: \S+', '', line)
        return scalars, line


def on_terminal() -> bool:
    """Whether the output is a terminal that can show a bar."""
    from rich.console import Console

    return Console().is_terminal and not Console().is_dumb_terminal


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """A bar under the log of a training, on a terminal: rate, remaining time, memory, loss.

    Log lines appear above it. The rate is that of the last iterations, from IterTimerHook.
    """

    priority = 'LOWEST'

    def __init__(self, console=None) -> None:
        self.console = console
        self.progress: Progress | None = None
        self.handlers: list[tuple[logging.StreamHandler, object]] = []
        self.started = 0.0

    def before_train(self, runner) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn('{task.fields[where]}'),
            BarColumn(bar_width=24),
            TextColumn('{task.fields[rate]}  eta {task.fields[eta]}  {task.fields[rest]}'),
        )
        console = self.console or Console(file=sys.stdout)
        self.progress = Progress(*columns, console=console, transient=True)
        self.progress.start()
        self.task = self.progress.add_task(
            '', total=runner.max_iters, completed=runner.iter,
            where='starting', rate='', eta='?', rest='',
        )  # fmt: skip
        # The log handlers keep the stream they were created with, but rich has replaced it.
        for handler in runner.logger.handlers:
            if type(handler) is logging.StreamHandler and handler.stream in (
                sys.__stdout__,
                sys.__stderr__,
            ):
                self.handlers.append((handler, handler.stream))
                handler.setStream(sys.stdout)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.progress is None:
            return
        now = time.monotonic()
        done = runner.iter + 1
        # Ten updates a second are enough; the last iteration is always shown.
        if now - self.started < 0.1 and done < runner.max_iters:
            return
        self.started = now
        scalars = runner.message_hub.log_scalars
        seconds = scalars['train/time'].mean(20) if 'train/time' in scalars else 0
        left = max(0, int(seconds * (runner.max_iters - done)))
        eta = f'{left // 3600}:{left // 60 % 60:02d}:{left % 60:02d}'
        loss = f'loss {scalars["train/loss"].mean(20):.4f}' if 'train/loss' in scalars else ''
        where = (
            f'epoch {runner.epoch + 1}/{runner.max_epochs}'
            if runner.max_epochs and runner.max_epochs > 1
            else f'iteration {done}/{runner.max_iters}'
        )
        self.progress.update(
            self.task, completed=done, where=where, rate=rate_text(seconds), eta=eta,
            rest=f'{memory_text()}  {loss}',
        )  # fmt: skip

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.progress is not None:
            where = f'validation {batch_idx + 1}/{len(runner.val_dataloader)}'
            self.progress.update(self.task, where=where)

    def stop(self) -> None:
        """Release the terminal, also after an error or an interruption."""
        if self.progress is not None:
            self.progress.stop()
            self.progress = None
        for handler, stream in self.handlers:
            handler.setStream(stream)
        self.handlers = []

    def after_train(self, runner) -> None:
        self.stop()
