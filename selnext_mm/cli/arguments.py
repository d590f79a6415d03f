"""Arguments and environment variables that several commands check."""

import os
from pathlib import Path

from mmengine.config import DictAction

from selnext_mm.errors import UserError

# launcher -> (variables that it sets, the script of ours that starts it)
LAUNCHERS = {
    'pytorch': (
        ('RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT'),
        'tools/dist_train.sh or tools/dist_test.sh',
    ),
    'slurm': (('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST'), 'tools/slurm_train.sh'),
    'mpi': (('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE', 'MASTER_ADDR'), 'mpirun'),
}
NUMBERS = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_PORT')


class Options(DictAction):
    """``key=value ...``; a word without "=" is an error of the command line, not a traceback."""

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            key, equals, _ = value.partition('=')
            if not equals or not key:
                parser.error(f'argument {option_string}: {value!r}; expected key=value')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError, IndexError) as error:
            parser.error(f'argument {option_string}: {" ".join(values)} cannot be read: {error}')


def check_launcher(launcher: str) -> None:
    """Raise :class:`UserError` for variables of a distributed start that are missing or wrong."""
    names, script = LAUNCHERS.get(launcher, ((), ''))
    if missing := [name for name in names if name not in os.environ]:
        raise UserError(
            f'--launcher {launcher}: {", ".join(missing)} not set in the environment; start the '
            f'processes with {script}, which sets it'
        )
    for name in NUMBERS:
        value = os.environ.get(name)
        if value is not None and not value.isdecimal():
            raise UserError(
                f'{name}={value!r} in the environment; expected a whole number. Unset it for a run '
                'of one process'
            )


def check_folder(option: str, path: str | os.PathLike) -> None:
    """Raise :class:`UserError` unless ``path`` is a folder that takes files, or can be made."""
    path = Path(path).expanduser().absolute()
    there = next(p for p in (path, *path.parents) if os.path.lexists(p))
    if not there.is_dir():
        raise UserError(f'{option} {path}: {there} is a file, not a folder; choose another folder')
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f'{option} {path}: no permission to write to {there}; choose another one')
