"""``python -m selnext_mm CMD`` and the ``selnext-mm`` script."""

import errno
import importlib
import os
import sys
import traceback

from selnext_mm import __version__, register_modules
from selnext_mm.cli import COMMANDS, WITHOUT_TORCH
from selnext_mm.errors import UserError
from selnext_mm.ranks import is_first_process
from selnext_mm.text import did_you_mean, short

# What Path.exists() and open() say of names that a user gave.
OF_NAMES = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
DOCTOR = '"selnext-mm doctor" says what is missing and how to fix it'


def usage() -> str:
    width = max(map(len, COMMANDS))
    rows = '\n'.join(f'  {name:<{width}}  {text}' for name, (_, text) in COMMANDS.items())
    return (
        f'selnext-mm {__version__}\n\nusage: selnext-mm CMD [options]\n\n{rows}\n\n'
        'selnext-mm CMD --help lists the options of a command; --debug shows the traceback\n'
        'of an error.'
    )


def tell(message: str, debug: bool) -> int:
    """Print ``message``, the exception at hand being shown for ``debug``; return status 2."""
    if debug:
        traceback.print_exc()
    # All processes of a distributed run find the same mistake; one of them tells it.
    if is_first_process():
        print(f'error: {message}', file=sys.stderr)
    return 2


def call(main, argv: list[str]) -> int:
    """Run ``main(argv)`` and turn a :class:`UserError` into one message and status 2.

    So with a package that is missing or does not fit: the text says how to find out.
    """
    argv = list(argv)
    debug = '--debug' in argv or bool(os.environ.get('SELNEXT_MM_DEBUG'))
    argv = [a for a in argv if a != '--debug']
    try:
        return main(argv)
    except UserError as error:
        return tell(str(error), debug)
    except ImportError as error:
        return tell(f'{type(error).__name__}: {" ".join(str(error).split())}. {DOCTOR}', debug)
    except AssertionError as error:
        # How mmdet and mmpretrain refuse an mmcv or mmengine at import.
        if 'is used but incompatible' not in str(error):
            raise
        return tell(f'{" ".join(str(error).split())} {DOCTOR}', debug)
    except BrokenPipeError:
        # The reader (head, a pager) has seen enough; the interpreter must not flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        from selnext_mm.disk import full_disk

        message = full_disk(error)
        if message is None and error.errno in OF_NAMES and error.filename:
            message = f'{short(error.filename)}: {error.strerror}; give another name'
            if error.errno in (errno.EACCES, errno.EPERM):
                message += ' or change its permissions'
        if message is None:
            raise
        return tell(message, debug)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130


def wait_passively() -> None:
    """Let idle OpenMP threads sleep instead of spin, unless the user has chosen.

    Two processes on the same cores otherwise take each other's time: 10.3 s an iteration became
    0.7 s in one case. It has to be said before torch is loaded.
    """
    chosen = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'KMP_BLOCKTIME')
    if 'torch' not in sys.modules and not any(name in os.environ for name in chosen):
        os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'


def dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ('-h', '--help', 'help'):
        print(usage())
        return 0
    if argv[0] in ('-V', '--version'):
        print(__version__)
        return 0
    if argv[0] not in COMMANDS:
        print(
            f'error: unknown command {argv[0]!r}{did_you_mean(argv[0], COMMANDS)}; choose from '
            f'{", ".join(COMMANDS)}',
            file=sys.stderr,
        )
        return 2
    check_folder_is_there()
    wait_passively()
    if argv[0] not in WITHOUT_TORCH:
        register_modules()
    return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])


def open_streams() -> None:
    """Give a process that was started with closed streams, as by some daemons, empty ones."""
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            # For the life of the process, as those that it stands for.
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115


def check_folder_is_there() -> None:
    """Raise :class:`UserError` where the working directory was removed: libraries of torch abort.

    Paths on the command line have no meaning there, either.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f'the working directory is gone ({error.strerror}); change into one that is there'
        ) from error


def main(argv: list[str] | None = None) -> int:
    open_streams()
    return call(dispatch, sys.argv[1:] if argv is None else argv)


if __name__ == '__main__':
    sys.exit(main())
