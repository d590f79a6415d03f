"""``tools/train.py`` and ``selnext-mm train``."""

import os

from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn

from selnext_mm.cli.run_options import base_parser, build_runner, prepare, quick_data_check
from selnext_mm.config.build import build_model
from selnext_mm.config.load import add_tensorboard, check_backends
from selnext_mm.engine.preflight.advice import HOOK, lr_for_batch, make_safe, random_and_fixed
from selnext_mm.engine.preflight.constructors import check_arguments
from selnext_mm.engine.preflight.paths import check_paths
from selnext_mm.engine.preflight.values import check_numbers, check_types, misspelt_keys
from selnext_mm.engine.preflight.weights import (
    check_checkpoint,
    check_load_from,
    check_pretrained,
    resolve_resume,
)
from selnext_mm.engine.resume.lineage import begun_anew, claim
from selnext_mm.engine.resume.work_dir_lock import WorkDirLock
from selnext_mm.engine.signals import stop_early
from selnext_mm.errors import UserError

# How often the job was started again: by torchrun, by Slurm, by tools/slurm_train.sh.
RESTARTS = ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT', 'SELNEXT_MM_RESTARTS')


def parse_args(argv: list[str] | None):
    parser = base_parser('train.py', 'Train a detector or classifier from a config.')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|if-any|PATH',
        help='go on from the newest intact checkpoint of the work dir (auto), from a file, or '
        'from the newest if there is one (if-any, for jobs that are started again)',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (fp16)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the lr by (batch of this run) / auto_scale_lr.base_batch_size',
    )
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='write the scalars for TensorBoard, too (vis_data/ in the dated folder)',
    )
    return parser.parse_args(argv)


def set_resume(cfg: Config, resume: str | None, model: nn.Module | None = None) -> list[str]:
    """Put what ``--resume`` means into ``cfg``; return the lines to log about it.

    A job that torchrun, Slurm or slurm_train.sh has started again goes on from its newest
    checkpoint whatever the option says; if it has none yet, the option counts.
    """
    newest = None
    if any(int(os.environ.get(name) or 0) for name in RESTARTS):
        newest = resolve_resume(cfg.work_dir, 'if-any')
    if newest is None and resume:
        newest = resolve_resume(cfg.work_dir, resume)
    if newest is None:
        return []
    cfg.resume = True
    cfg.load_from = str(newest.path)
    check_checkpoint(cfg, cfg.load_from, model, training=True)
    return newest.lines()


@stop_early()
def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    cfg = prepare(args)
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not cfg.get(key):
            raise UserError(f'{cfg.filename} cannot be trained: it has no {key}')
    if args.amp:
        cfg.optim_wrapper.type = 'AutoAmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    if args.auto_scale_lr:
        if not (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
            raise UserError(
                f'--auto-scale-lr: {cfg.filename} has no auto_scale_lr.base_batch_size, the batch '
                'that its lr is meant for'
            )
        cfg.auto_scale_lr.enable = True
    if args.tensorboard:
        add_tensorboard(cfg)
    check_backends(cfg)
    check_types(cfg)
    check_numbers(cfg)
    loaders = ('train_dataloader', 'val_dataloader')
    check_paths(cfg, loaders)
    lines = quick_data_check(args, cfg, loaders)
    make_safe(cfg)
    model = build_model(cfg)
    check_arguments(cfg, model)
    resumed = set_resume(cfg, args.resume, model)
    if not resumed:
        check_load_from(cfg, model)
        check_pretrained(cfg, model)
    warnings = misspelt_keys(cfg)
    lock = WorkDirLock(cfg.work_dir)
    try:
        lock.acquire()
        if not resumed and (warning := begun_anew(cfg.work_dir)):
            warnings.append(warning)
        if cfg.default_hooks.checkpoint and cfg.default_hooks.checkpoint.get('type') == HOOK:
            claim(cfg.work_dir, cfg.load_from if resumed else None)
        runner = build_runner(cfg)
        lock.acquire()  # of a folder that the runner has made
        start(runner, cfg, model, [*lines, *resumed], warnings)
    finally:
        lock.release()
    return 0


def start(
    runner: Runner, cfg: Config, model: nn.Module, lines: list[str], warnings: list[str]
) -> None:
    """Log what is to be known beforehand, and train."""
    for line in lines:
        runner.logger.info(line)
    for warning in warnings:
        runner.logger.warning(warning)
    if warning := lr_for_batch(cfg, runner.world_size):
        runner.logger.warning(warning)
    if warning := random_and_fixed(cfg, model):
        runner.logger.warning(warning)
    runner.train()
