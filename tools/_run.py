"""Start a command of the package, in the project's own environment if need be."""

import os
import signal
import sys
from pathlib import Path


def run(command: str) -> None:
    """Run ``selnext-mm COMMAND`` with this script's arguments and exit with its status.

    Called without an activated environment, the ``.venv`` that ``make setup`` made takes over.
    """
    if command == 'train':
        # Until the train command takes them itself: EX_TEMPFAIL, start again.
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: os._exit(75))
    try:
        from selnext_mm.__main__ import main
    except ModuleNotFoundError:
        python = Path(__file__).resolve().parents[1] / '.venv' / 'bin' / 'python'
        if not python.exists() or Path(sys.prefix) == python.parents[1]:
            sys.exit('error: selnext_mm is not installed here; run "make setup" first')
        os.execv(python, [str(python), *sys.argv])
    sys.exit(main([command, *sys.argv[1:]]))
