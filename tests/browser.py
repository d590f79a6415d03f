"""Pages in a headless browser: what a script in them answers, and the console."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest

BROWSERS = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome')


def find_browser() -> str:
    """Path of a browser; without one the test is skipped, or fails where one was promised."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        text = f'no browser on PATH; install one of {", ".join(BROWSERS)} to run this'
        # .ci/run sets it where it finds a browser.
        (pytest.fail if os.environ.get('SELNEXT_MM_REQUIRE_BROWSER') else pytest.skip)(text)
    return browser


def dump(address: str, profile: Path, window: str, timeout: int) -> subprocess.CompletedProcess:
    """The finished browser; its output is the document once all is quiet.

    Args:
        address: of the page.
        profile: a new folder for the browser's own files.
        window: width and height, as ``1300,1000``.
        timeout: seconds.
    """
    return subprocess.run(
        [
            *(find_browser(), '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom'),
            *('--enable-logging=stderr', '--v=0', '--virtual-time-budget=20000'),
            *(f'--user-data-dir={profile}', f'--window-size={window}'),
            address,
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def answer_of(page: Path, profile: Path, name: str, timeout: int) -> tuple:
    """(answer, lines of the console) of a page that writes JSON, as a URI component, into a pre.

    Args:
        page: the HTML file.
        profile, timeout: see :func:`dump`.
        name: the id of the pre.
    """
    result = dump(page.as_uri(), profile, '1300,1000', timeout)
    console = [line for line in result.stderr.splitlines() if ':CONSOLE' in line]
    found = re.search(rf'<pre id="{name}">(.+?)</pre>', result.stdout, re.S)
    assert found, (console, result.stderr[-1000:])
    return json.loads(unquote(found[1])), console
