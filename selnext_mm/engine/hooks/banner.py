"""What a run is about to do, in at most 15 lines, before the first iteration."""

import os
import platform
import re
from collections.abc import Sized
from pathlib import Path

import mmengine
import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

from selnext_mm import __version__
from selnext_mm.config import summary
from selnext_mm.engine.preflight.moments import moment_warnings
from selnext_mm.engine.preflight.schedules import schedule_warnings
from selnext_mm.text import counted

NAMES = 6  # number of classes that are named
CROWDED = 1.5  # load per core above which programs slow each other down


def _classes(dataset) -> str:
    names = (getattr(dataset, 'metainfo', None) or {}).get('classes')
    if not isinstance(names, list | tuple) or not names:
        return ''
    more = f', ... ({len(names) - NAMES} more)' if len(names) > NAMES else ''
    return f'{counted(len(names), "class")}: {", ".join(map(str, names[:NAMES]))}{more}'


def _length(loader) -> int | None:
    dataset = getattr(loader, 'dataset', None)
    return len(dataset) if isinstance(dataset, Sized) else None


def parameter_text(model: torch.nn.Module) -> str:
    """'5.33 M, all trained' or '28.59 M, 24.10 M trained'."""
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    rest = 'all trained' if trained == total else f'{summary.short_number(trained)} trained'
    return f'{summary.short_number(total)}, {rest}'


def device_text(model: torch.nn.Module, world_size: int) -> str:
    """'CPU (2 cores)' or '8 x NVIDIA H100 (80 GB)'; the device is the one the weights are on."""
    device = next(model.parameters()).device
    if device.type == 'cuda':
        facts = torch.cuda.get_device_properties(device)
        name = f'{facts.name} ({facts.total_memory / 2**30:.0f} GiB)'
    elif device.type == 'cpu':
        threads = counted(torch.get_num_threads(), 'thread')
        name = f'CPU ({threads}, {counted(os.cpu_count() or 1, "core")})'
    else:
        name = device.type
    return name if world_size == 1 else f'{world_size} x {name}'


def load_warning(device: str) -> str | None:
    """A warning if other programs use the cores that a training on the CPU needs; else None."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else 0.0
    if device != 'cpu' or load < CROWDED * cores:
        return None
    fewer = max(1, cores // 2)
    return (
        f'the load of this machine is {load:.1f} on {counted(cores, "core")}: programs share '
        'them, and each gets slower'
        + (f'. OMP_NUM_THREADS={fewer} often helps both' if torch.get_num_threads() > fewer else '')
    )


def lr_factor(runner) -> float:
    """The factor of mmengine on the config's lr: 1.0 without ``auto_scale_lr.enable``."""
    scale = runner.cfg.get('auto_scale_lr') or {}
    size = (runner.cfg.get('train_dataloader') or {}).get('batch_size')
    if not scale.get('enable') or not scale.get('base_batch_size') or not size:
        return 1.0
    return size * runner.world_size / scale['base_batch_size']


def _schedule(runner) -> str:
    """Length and optimizer, from the config or from the objects of a runner without one."""
    loop = runner.train_loop
    if not runner.cfg.get('optim_wrapper'):
        optimizer = getattr(runner.optim_wrapper, 'optimizer', runner.optim_wrapper)
        epochs, iterations = counted(loop.max_epochs, 'epoch'), counted(loop.max_iters, 'iteration')
        return f'{epochs} ({iterations}), {type(optimizer).__name__}'
    # An iteration-based loop has an endless loader, and max_epochs 1.
    line = summary.schedule_line(runner.cfg, lr_factor(runner))
    if loop.max_epochs == 1:
        return line
    iterations = counted(loop.max_iters, 'iteration')
    return re.sub(r'( epochs?),', rf'\1 ({iterations}),', line, count=1)


def banner(runner) -> list[tuple[str, str]]:
    """(name, text) pairs for a runner whose training is about to begin."""
    cfg = runner.cfg
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    loader = runner.train_dataloader
    size = getattr(loader, 'batch_size', None) or getattr(
        getattr(loader, 'batch_sampler', None), 'batch_size', None
    )
    wrapper = cfg.get('optim_wrapper') or {}
    accumulate = wrapper.get('accumulative_counts') or 1
    processes = counted(runner.world_size, 'process')
    batch = f'{counted(size or 0, "image")} x {processes}'
    if accumulate > 1:
        batch += f' x {accumulate} accumulated'
    if size:
        batch += f' = {size * runner.world_size * accumulate}'
    scale = cfg.get('auto_scale_lr') or {}
    if scale.get('enable'):
        batch += f', lr scaled from the batch {scale.get("base_batch_size")} of the recipe'
    train = _length(loader)
    val = _length(runner.val_dataloader) if runner.val_loop is not None else None
    images = f'{counted(train or 0, "image")} for training' + (
        f', {val} for validation' if val else ''
    )
    if size_text := summary.size_text(cfg):
        images += f'; evaluated at {size_text}'
    schedule = _schedule(runner)
    dataset = getattr(loader, 'dataset', None)
    amp = 'Amp' in type(runner.optim_wrapper).__name__ and torch.cuda.is_available()
    rows = [
        ('model', summary.model_line(cfg) if cfg.get('model') else type(model).__name__),
        ('parameters', parameter_text(model)),
        ('start', summary.start_line(cfg) if cfg.get('model') else ''),
        ('data', summary.data_line(cfg) if cfg.get('train_dataloader') else type(dataset).__name__),
        ('', images),
        ('', _classes(dataset)),
        ('schedule', schedule),
        ('batch', batch),
        ('device', f'{device_text(model, runner.world_size)}, '
         + ('mixed precision' if amp else 'float32')),
        ('software', f'python {platform.python_version()}, torch {torch.__version__}, mmengine '
         f'{mmengine.__version__}, seed {runner.seed}'),
        ('files', f'{runner.work_dir} (log and scalars in {runner.timestamp}/)'),
    ]  # fmt: skip
    return [row for row in rows if row[1]]


def banner_text(runner, rows: list[tuple[str, str]]) -> str:
    """The banner as one message."""
    head = f'selnext_mm {__version__}: {runner.experiment_name.removesuffix(runner.timestamp)}'
    return '\n'.join([head.rstrip('_'), *(f'  {what:<11}{text}' for what, text in rows)])


@HOOKS.register_module()
class BannerHook(Hook):
    """Log the banner once all is built and loaded; keep it in ``environment.txt`` for reports."""

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        rows = banner(runner)
        runner.logger.info(banner_text(runner, rows))
        if warning := load_warning(next(runner.model.parameters()).device.type):
            runner.logger.warning(warning)
        loop = runner.train_loop
        length = (loop.max_epochs, loop.max_iters)
        warnings = schedule_warnings(runner.cfg, *length) + moment_warnings(runner.cfg, *length)
        for warning in warnings:
            runner.logger.warning(warning)
        lines = ''.join(f'run {what}: {text}\n' for what, text in rows if what)
        with open(Path(runner.log_dir, 'environment.txt'), 'a', encoding='utf-8') as file:
            file.write(f'\n{lines}')
