"""What installs packages: uv, which takes seconds, or pip where uv would not do the same.

pip's settings (pip.conf, PIP_* variables) say where packages come from, and uv does not read them.
Those that uv has an option for are handed on; pip does the work where there is another.
Uses the standard library only.
"""

from __future__ import annotations

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

UV = '0.13.9'
OLDEST_UV = (0, 5)
# Lists of one value per word; each is an option of its own for uv.
LISTS = {
    'extra-index-url': '--extra-index-url',
    'find-links': '--find-links',
    'trusted-host': '--allow-insecure-host',
    'constraint': '--constraints',
}
# How pip talks, waits and caches: no matter of what is installed.
INDIFFERENT = {
    'break-system-packages', 'cache-dir', 'debug', 'default-timeout', 'disable-pip-version-check',
    'log', 'no-cache-dir', 'no-color', 'no-compile', 'no-input', 'no-python-version-warning',
    'no-warn-script-location', 'progress-bar', 'quiet', 'require-virtualenv', 'retries',
    'root-user-action', 'timeout', 'user', 'verbose',
}  # fmt: skip


def stop(message: str) -> None:
    sys.exit(f'\nset-up stopped: {message}')


@functools.lru_cache
def pip_settings(python: str | Path) -> dict[str, str]:
    """pip's settings for an installation, by name; variables come before files, as for pip."""
    command = [str(python), '-m', 'pip', 'config', 'list']
    result = subprocess.run(command, capture_output=True, text=True)
    # Later sections win.
    sections = {'global': {}, 'install': {}, ':env:': {}}
    for line in result.stdout.splitlines():
        key, equals, value = line.partition('=')
        section, _, name = key.partition('.')
        if equals and section in sections:
            sections[section][name] = ast.literal_eval(value)
    return {name: value for values in sections.values() for name, value in values.items()}


def uv_options(settings: dict[str, str], index: str | None = None) -> tuple[list[str], dict] | None:
    """Options and variables by which uv takes packages from where pip would; None: it cannot.

    Args:
        settings: of :func:`pip_settings`.
        index: an index in place of the settings' own.
    """
    # As pip: the best version of all indexes, not that of the first which has the name.
    options, variables = ['--index-strategy', 'unsafe-best-match'], {}
    index = index or settings.get('index-url')
    if index:
        options += ['--index-url', index]
    for name, value in settings.items():
        if name in LISTS:
            options += [word for item in value.split() for word in (LISTS[name], item)]
        elif name == 'no-index':
            options += (
                ['--no-index'] if value.lower() in ('1', 'true', 'yes', 'on', 't', 'y') else []
            )
        elif name == 'cert':
            variables['SSL_CERT_FILE'] = value
        elif name == 'proxy':
            variables.update(HTTP_PROXY=value, HTTPS_PROXY=value)
        elif name != 'index-url' and name not in INDIFFERENT:
            return None
    return options, variables


def uv_version(uv: str) -> tuple[int, ...]:
    """(0, 13, 9) of a uv program, () of one that does not run."""
    try:
        result = subprocess.run([uv, '--version'], capture_output=True, text=True)
    except OSError:
        return ()
    found = re.search(r'(\d+)\.(\d+)\.(\d+)', result.stdout)
    return tuple(map(int, found.groups())) if found and not result.returncode else ()


def find_uv(python: Path, constraints: Path) -> str | None:
    """uv of the environment or of the user, else installed into the environment; None without."""
    own = python.parent / 'uv'
    for uv in (str(own), shutil.which('uv')):
        if uv and uv_version(uv) >= OLDEST_UV:
            return uv
    options = ['--disable-pip-version-check', '--no-deps', '-c', str(constraints)]
    command = [str(python), '-m', 'pip', 'install', *options, f'uv=={UV}']
    if subprocess.run(command, capture_output=True).returncode:
        return None
    return str(own) if uv_version(str(own)) else None


def uv_command(python: Path, constraints: Path, index: str | None) -> tuple[list[str], dict] | None:
    """'uv pip install' into ``python``'s environment, and its variables; None: pip has to do."""
    choice = os.environ.get('SELNEXT_MM_INSTALLER', 'uv')
    if choice not in ('pip', 'uv'):
        raise ValueError(f'SELNEXT_MM_INSTALLER={choice!r}; expected pip or uv')
    same = uv_options(pip_settings(python), index) if choice == 'uv' else None
    uv = same and find_uv(python, constraints)
    if not uv:
        return None
    options, variables = same
    return [uv, 'pip', 'install', '--python', str(python), *options], {**os.environ, **variables}
