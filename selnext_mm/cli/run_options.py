"""Shared by train, test and ``train --data``: options, and the session that they open."""

import argparse
import os
import sys

from selnext_mm.cli.arguments import Options
from selnext_mm.cli.parser import Parser
from selnext_mm.engine.session import Session

LOGGERS = {
    'tensorboard': 'TensorBoard',
    'wandb': 'Weights & Biases',
    'mlflow': 'MLflow',
    'clearml': 'ClearML',
}


def called_as(command: str) -> str:
    """How the user called this command: as ``train.py`` in ``tools/`` or ``selnext-mm train``."""
    script = f'{command}.py'
    return script if os.path.basename(sys.argv[0]) == script else f'selnext-mm {command}'


def base_parser(
    command: str, description: str, config: str | None = None
) -> argparse.ArgumentParser:
    """``config`` is the ``nargs`` of CONFIG."""
    parser = Parser(prog=called_as(command), description=description)
    parser.add_argument(
        'config', nargs=config, metavar='CONFIG', help='config file, or a name under configs/'
    )
    parser.add_argument('--work-dir', help='default: work_dirs/<config folder>/<config name>')
    parser.add_argument(
        '--data-root', help='folder of the data set: moves all data sets and evaluators there'
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


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """``--gpus``, one switch for each logger, and ``--show-predictions``."""
    parser.add_argument(
        '--gpus',
        type=int,
        metavar='N',
        help='train with N processes on this machine, one for each GPU (on the CPU without any)',
    )
    for name, title in LOGGERS.items():
        parser.add_argument(
            f'--{name}',
            action='append_const',
            dest='loggers',
            const=name,
            help=f'write the scalars for {title}, too',
        )
    parser.add_argument(
        '--show-predictions',
        type=int,
        metavar='N',
        help='draw N images with their predictions in each evaluation',
    )
    parser.set_defaults(loggers=[])


def open_session(args: argparse.Namespace) -> Session:
    """The session for the options of :func:`base_parser`."""
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return Session(
        args.config,
        data_root=args.data_root,
        work_dir=args.work_dir,
        options=args.cfg_options,
        launcher=args.launcher,
        check_data=not args.skip_data_check,
    )
