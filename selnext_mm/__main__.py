"""``python -m selnext_mm CMD`` and the ``selnext-mm`` script."""

import errno
import importlib
import os
import sys
import traceback
from importlib.util import find_spec

from selnext_mm import __version__, register_modules
from selnext_mm.cli import COMMANDS, WITHOUT_TORCH
from selnext_mm.errors import UserError
from selnext_mm.process import keep_freed_memory, wait_briefly
from selnext_mm.ranks import is_first_process
from selnext_mm.text import did_you_mean, short

# Errors of Path.exists() and open() for names that a user gave.
OF_NAMES = (errno.ENAMETOOLONG, errno.EACCES, errno.EPERM, errno.ELOOP)
NEEDS_ALL = (
    'this command needs torch and the stack around it, not only the runtime of exported files: '
    "pip install 'selnext_mm[mm]'"
)
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
    """Print ``message``, with ``debug`` also the current exception; return status 2."""
    if debug:
        traceback.print_exc()
    # All processes of a distributed run find the same mistake; only one reports it.
    if is_first_process():
        print(f'error: {message}', file=sys.stderr)
    return 2


def call(main, argv: list[str]) -> int:
    """Run ``main(argv)`` and turn a :class:`UserError` into one message and status 2.

    The same applies to a missing or incompatible package: the message says how to find out.
    """
    argv = list(argv)
    debug = '--debug' in argv or bool(os.environ.get('SELNEXT_MM_DEBUG'))
    argv = [a for a in argv if a != '--debug']
    try:
        return main(argv)
    except UserError as error:
        return tell(str(error), debug)
    except ImportError as error:
        if find_spec('torch') is None:  # an environment of the extra "runtime"
            return tell(f'{NEEDS_ALL} (there is no {error.name or "torch"})', debug)
        return tell(f'{type(error).__name__}: {" ".join(str(error).split())}. {DOCTOR}', debug)
    except AssertionError as error:
        # mmdet and mmpretrain refuse an incompatible mmcv or mmengine like this at import.
        if 'is used but incompatible' not in str(error):
            raise
        return tell(f'{" ".join(str(error).split())} {DOCTOR}', debug)
    except BrokenPipeError:
        # The reader (head, a pager) has closed the pipe; the interpreter must not flush again.
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
    wait_briefly()
    if argv[0] != 'serve':  # a server runs for weeks, with images of all sizes
        keep_freed_memory()
    if argv[0] not in WITHOUT_TORCH:
        register_modules()
    return importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])


def open_streams() -> None:
    """Open empty standard streams in a process that some daemon started without them."""
    for name, mode in (('stdin', 'r'), ('stdout', 'w'), ('stderr', 'w')):
        if getattr(sys, name) is None:
            # Stays open as long as the process, like the stream that it replaces.
            setattr(sys, name, open(os.devnull, mode, encoding='utf-8'))  # noqa: SIM115


def check_folder_is_there() -> None:
    """Raise :class:`UserError` if the working directory was removed: torch's libraries would abort.

    Relative paths on the command line would have no meaning, either.
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
