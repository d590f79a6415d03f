"""What train and test share: options, device adaptation, the runner."""

import argparse
import os
import warnings

from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from selnext_mm.cli.arguments import Options, check_folder, check_launcher
from selnext_mm.config.load import default_work_dir, load_config, set_data_root
from selnext_mm.datasets.check.config import stop_on_bad_data
from selnext_mm.engine.device import (
    adapt_to_device,
    init_cpu_group,
    is_first_process,
    meet_anew,
)


def base_parser(prog: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument('config', help='config file, or a name under configs/')
    parser.add_argument('--work-dir', help='default: work_dirs/<config folder>/<config name>')
    parser.add_argument(
        '--data-root', help='folder of the data set: moves all datasets and evaluators there'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        help='override values of the config: key=value ..., nested keys with dots',
    )
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='default: pytorch under torchrun, else none',
    )
    parser.add_argument(
        '--skip-data-check',
        action='store_true',
        help='start even if the annotation files have what would ruin the run (see check-data)',
    )
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument('--debug', action='store_true', help='show the traceback of an error')
    return parser


def prepare(args: argparse.Namespace) -> Config:
    """Config with the options of :func:`base_parser` in it, adapted to the machine."""
    silence_known_warnings()
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = load_config(args.config, args.cfg_options)
    if args.launcher == 'none' and 'TORCHELASTIC_RUN_ID' in os.environ:
        # Without it every process of torchrun would train alone, into the same folder.
        args.launcher = 'pytorch'
    check_launcher(args.launcher)
    cfg.launcher = args.launcher
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif not cfg.get('work_dir'):
        cfg.work_dir = default_work_dir(cfg.filename)
    check_folder('--work-dir', cfg.work_dir)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    return cfg


def quick_data_check(args: argparse.Namespace, cfg: Config, loaders: tuple[str, ...]) -> list[str]:
    """Stop on data that would ruin the run; lines to log. One process looks, for all."""
    if args.skip_data_check or not is_first_process():
        return []
    return stop_on_bad_data(cfg, loaders)


def build_runner(cfg: Config) -> Runner:
    """Runner of the config; ours unless the config names another."""
    lines = adapt_to_device(cfg)
    meet_anew(cfg)
    init_cpu_group(cfg)
    cfg.setdefault('runner_type', 'ConciseRunner')
    runner = RUNNERS.build(cfg)
    for line in lines:
        runner.logger.info(line)
    return runner


def silence_known_warnings() -> None:
    """Hide upstream notices that a user can do nothing about."""
    for message in (
        '__floordiv__ is deprecated',
        'torch.meshgrid: in an upcoming release',
    ):
        warnings.filterwarnings('ignore', message=message)
