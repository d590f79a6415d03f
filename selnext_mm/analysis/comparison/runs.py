"""Executing the runs of a comparison.

A second call skips finished runs, resumes interrupted ones and leaves the runs of other processes
alone, so that several processes can share the work.
"""

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import RUNNERS

from selnext_mm.analysis.comparison.plan import PLACES, Protocol, Run, finished, set_input_size
from selnext_mm.analysis.feature_distance import feature_distance
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.checkpoints.files import save_file
from selnext_mm.disk import write_json
from selnext_mm.engine.resume.work_dir_lock import WorkDirBusyError
from selnext_mm.engine.runner import ConciseRunner
from selnext_mm.engine.session import Session
from selnext_mm.errors import UserError
from selnext_mm.text import counted


@RUNNERS.register_module()
class QuietRunner(ConciseRunner):
    """A runner that logs to the file only; errors still reach the screen."""

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.ERROR)
        return logger


def run_config(run: Run, protocol: Protocol, root: Path, out: Path, workers: int | None) -> Config:
    """The model's config with the data, length, seed and folder of this run."""
    cfg = Config(run.model.cfg.to_dict())
    epochs = protocol.epochs or cfg.train_cfg.max_epochs
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    cfg.param_scheduler[0].total_steps = epochs
    if protocol.size:
        set_input_size(cfg, protocol.size)
    for split in ('train', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset.update(
            data_root=str(root), data_prefix=split, ann_file=str((out / f'{split}.txt').resolve())
        )
        count = loader.num_workers if workers is None else workers
        if protocol.quick_batch_size or (workers is None and get_device() == 'cpu'):
            count = 0
        loader.update(num_workers=count, persistent_workers=count > 0)
    # The test set is evaluated only once, after the last epoch.
    cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    cfg.default_hooks.checkpoint = dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=1)
    cfg.randomness = dict(seed=run.seed, deterministic=False)
    cfg.experiment_name = run.folder.name
    cfg.work_dir = str(run.folder)
    cfg.runner_type = QuietRunner.__name__
    return cfg


def execute(session: Session, run: Run) -> dict:
    """Train, test, measure the feature distance on the test images; write ``result.json``."""
    started = time.time()
    session.train(resume='if-any')
    runner, cfg = session.runner, session.runner.cfg
    trained = time.time()
    accuracy = float(runner.test()['accuracy/top1'])
    model = runner.model.eval()
    distance = {place: distances(model, runner.test_dataloader, place) for place in PLACES}
    result = dict(
        config=run.model.label,
        config_digest=run.model.digest,
        seed=run.seed,
        top1=accuracy,
        distance=distance,
        params=run.model.params,
        epochs=cfg.train_cfg.max_epochs,
        resumed=bool(cfg.resume),
        seconds=round(time.time() - started, 1),
        train_seconds=round(trained - started, 1),
        machine=machine(),
        versions=versions(),
    )
    meta = dict(config=run.model.label, seed=run.seed)
    save_file(model.state_dict(), run.folder / 'weights.pth', meta)
    write_json(run.folder / 'result.json', result)
    for path in (*run.folder.glob('epoch_*.pth'), run.folder / 'last_checkpoint'):
        path.unlink(missing_ok=True)
    return result


def distances(model: torch.nn.Module, loader, place: str) -> dict | None:
    """Mean over blocks and each block's value; None where the model has no such place."""

    def inputs():
        for batch in loader:
            yield model.data_preprocessor(batch, False)['inputs']

    try:
        blocks = feature_distance(model, inputs(), place)
    except UserError:  # a ResNet has no expansion layers
        return None
    return dict(
        mean=sum(b.mean for b in blocks) / len(blocks),
        blocks={b.block: b.mean for b in blocks},
    )


def run_all(
    runs: Sequence[Run],
    protocol: Protocol,
    root: Path,
    out: Path,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Execute the unfinished runs; report a line before and after each of them."""
    todo = [run for run in runs if not finished(run)]
    say(f'{counted(len(runs), "run")}, {len(runs) - len(todo)} already finished')
    spent: list[float] = []
    for i, run in enumerate(todo):
        run.folder.mkdir(parents=True, exist_ok=True)
        # The plan has checked the data that all runs share.
        session = Session(run_config(run, protocol, root, out, workers), check_data=False)
        try:
            with session.lock(patience=0):
                if finished(run):  # by another process, meanwhile
                    continue
                say(f'[{i + 1}/{len(todo)}] {run} ...')
                result = execute(session, run)
        except WorkDirBusyError:
            say(f'{run}: another process is working on it')
            continue
        spent.append(result['seconds'])
        left = sum(not finished(r) for r in todo)
        minutes = left * sum(spent) / len(spent) / 60
        eta = f'{left} left, about {minutes:.0f} min' if left else 'none left'
        say(f'    top-1 {result["top1"]:.1f} %, {result["seconds"]:.0f} s; {eta}')
