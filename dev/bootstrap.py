#!/usr/bin/env python3
"""Make the project's environment: ``.venv`` with torch, the OpenMMLab stack and this package.

Needs Python 3.10-3.14 with venv, and nothing else; uses the standard library only. No compiler is
needed: mmcv-lite is installed, whose operators selnext_mm computes with torch and torchvision.
Environment variables:

  TORCH_VERSION, TORCHVISION_VERSION   default 2.13.0 and 0.28.0
  TORCH_INDEX_URL                      package index to take torch from; default: pip's, but that of
                                       torch's CPU builds on Linux without an NVIDIA driver and nvcc
                                       if pip's own has a CUDA build
  MMCV_OPS=torch|cpu|cuda              where mmcv's operators come from: selnext_mm, the default, or
                                       compiled by g++, and by nvcc. Compiled once per (mmcv, torch,
                                       python, CUDA) and kept as a wheel in the cache folder. Later
                                       calls without the variable keep what is there
  MAX_JOBS                             parallel compilations; default: the number of cores
  SELNEXT_MM_INSTALLER=uv|pip          what installs; default uv (the one on PATH, else put into the
                                       environment), and pip where uv cannot do the same
  SELNEXT_MM_CACHE                     cache folder; default ~/.cache/selnext_mm

"--this-python" ("make setup PYTHON=...") makes an environment of another Python version anew.
"--cached-wheel" prints the cached wheel of the compiled mmcv for this environment, if there is one.
"""

# Evaluated by the Pythons that are too old, too, which have to get as far as the message.
from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cuda_toolkit import cuda_headers, find_cuda_home, plan_ops
from installer import stop, uv_command
from wheel_cache import MMCV, cache_folder, cached_wheels, wheel_key

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STAMP = VENV / 'selnext_mm.json'
SUPPORTED = ((3, 10), (3, 14))
# mmcv first, as programs that do not know this package do.
FIRST_IMPORT = ('mmcv.ops', 'mmdet.apis', 'mmdet.models', 'mmpretrain.models', 'selnext_mm.cli')
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
SCRIPTS = ('bootstrap', 'cuda_toolkit', 'installer', 'wheel_cache')
INPUTS = ('setup.py', 'pyproject.toml', 'requirements', *(f'dev/{n}.py' for n in SCRIPTS))


def say(message: str) -> None:
    print(f'[set-up] {message}', flush=True)


def run(*command: str, **kwargs) -> None:
    """Run a command; on failure show the end of its output and stop."""
    log = Path(tempfile.gettempdir(), f'selnext_mm_setup_{os.getuid()}.log')
    with open(log, 'w', encoding='utf-8') as file:
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, **kwargs).returncode
    if code:
        text = log.read_text(encoding='utf-8', errors='replace')
        sys.stderr.write(''.join(text.splitlines(True)[-30:]))
        stop(f'"{" ".join(map(str, command))}" failed with status {code}; all output: {log}')


def install(*arguments: str, index: str | None = None) -> None:
    """Install packages, from ``index`` if one is named."""
    # torch asks for setuptools without a bound, and mmcv and mmengine need one below 81.
    constraints = ROOT / 'requirements' / 'lock.txt'
    arguments = ('-c', str(constraints), *arguments)
    try:
        quick = uv_command(PYTHON, constraints, index)
    except ValueError as error:
        stop(str(error))
    if quick:
        command, env = quick
        result = subprocess.run([*command, *arguments], capture_output=True, text=True, env=env)
        if not result.returncode:
            return
        # It may be a matter of credentials, which pip finds in more places.
        last = (result.stderr.strip().splitlines() or ['no message'])[-1].strip()
        say(f'uv could not install this ("{last}"); pip tries')
    # --no-compile: Python writes what it needs on first import, not all 16,000 files.
    options = ['--disable-pip-version-check', '--no-compile']
    options += ['--index-url', index] if index else []
    run(str(PYTHON), '-m', 'pip', 'install', *options, *arguments)


def find_python() -> str:
    """This interpreter if its version fits, else another one on PATH that does."""
    if SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        return sys.executable
    for minor in range(SUPPORTED[1][1], SUPPORTED[0][1] - 1, -1):
        candidate = shutil.which(f'python3.{minor}')
        # A version manager's stub is on PATH even where no such version is active.
        if candidate and not subprocess.run([candidate, '-V'], capture_output=True).returncode:
            return candidate
    return stop(
        f'Python {platform.python_version()} is not supported and no python3.10 to 3.14 is '
        'on PATH. Install one, or name it: make setup PYTHON=/path/to/python3.13'
    )


def version_of(python: str | Path) -> tuple[int, ...]:
    """(3, 11) of an interpreter, () if it does not run or has no pip."""
    code = 'import pip, sys; print(*sys.version_info[:2])'
    result = subprocess.run([python, '-c', code], capture_output=True, text=True)
    return () if result.returncode else tuple(map(int, result.stdout.split()))


def can_stay(there: tuple[int, ...], wanted: tuple[int, ...] | None) -> bool:
    """Whether an environment of version ``there`` is kept; ``wanted`` is None for any."""
    return SUPPORTED[0] <= there <= SUPPORTED[1] and wanted in (None, there)


def make_venv(python: str, wanted: tuple[int, ...] | None) -> None:
    if PYTHON.exists() and can_stay(version_of(PYTHON), wanted):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    result = subprocess.run([python, '-m', 'venv', str(VENV)], capture_output=True, text=True)
    if result.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        stop(
            f'{python} cannot make a virtual environment '
            f'({(result.stdout + result.stderr).strip().splitlines()[-1:]}). On Debian and Ubuntu '
            'install python3-venv and python3-dev'
        )


def torch_facts() -> dict:
    """Version, CUDA version (or None) and visible GPU of the installed torch; {} without."""
    code = (
        'import json, torch, sys; print(json.dumps(dict(version=torch.__version__, '
        'cuda=torch.version.cuda, gpu=torch.cuda.is_available(), '
        'archs=sorted({"%d%d" % torch.cuda.get_device_capability(i) '
        'for i in range(torch.cuda.device_count())}), '
        'python="cp%d%d" % sys.version_info[:2])))'
    )
    result = subprocess.run([PYTHON, '-c', code], capture_output=True, text=True)
    return {} if result.returncode else json.loads(result.stdout.splitlines()[-1])


def needs_cuda(requirements: list[str]) -> bool:
    """Whether a torch with these requirements is a CUDA build."""
    return any(name.lower().startswith(('nvidia-', 'cuda-')) for name in requirements)


def torch_index(wanted: str) -> str | None:
    """The index to take torch from, None for pip's own.

    pip's own has CUDA builds for Linux. On a machine without an NVIDIA driver and nvcc such a
    build is gigabytes of no use, so torch's index of CPU builds takes its place there.
    """
    index = os.environ.get('TORCH_INDEX_URL')
    driver = Path('/proc/driver/nvidia').exists() or os.environ.get('MMCV_OPS') == 'cuda'
    if index or driver or find_cuda_home() or not sys.platform.startswith('linux'):
        return index
    options = ['install', '--dry-run', '--ignore-installed', '--no-deps', '--quiet']
    command = [str(PYTHON), '-m', 'pip', *options, '--report', '-', f'torch=={wanted}']
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        return None  # the installation itself will say why
    (found,) = json.loads(result.stdout)['install']
    if not needs_cuda(found['metadata'].get('requires_dist', [])):
        return None
    say(f'no NVIDIA driver and no nvcc here, so a CPU build of torch from {CPU_INDEX}')
    return CPU_INDEX


def install_torch() -> dict:
    """Install torch unless the wanted version is there, whatever its build."""
    wanted = os.environ.get('TORCH_VERSION', '2.13.0')
    facts = torch_facts()
    if facts.get('version', '').split('+')[0] != wanted:
        index = torch_index(wanted)
        install(f'torch=={wanted}', index=index)
        facts = torch_facts()
        if not facts:
            stop('torch is installed but cannot be imported; see: .venv/bin/python -m torch')
    return facts


def mmcv_installed(version: str) -> bool:
    code = f'import torch, mmcv, mmcv._ext; assert mmcv.__version__ == {version!r}'
    return not subprocess.run([PYTHON, '-c', code], capture_output=True).returncode


def remove_other_mmcv(own: str) -> None:
    """Both distributions install the folder mmcv, so that one has to go before the other comes."""
    site_packages = next((VENV / 'lib').glob('python3*')) / 'site-packages'
    for name in {'mmcv', 'mmcv_lite'} - {own}:
        if list(site_packages.glob(f'{name}-*.dist-info')):
            run(str(PYTHON), '-m', 'pip', 'uninstall', '--yes', name.replace('_', '-'))
            for package in list(site_packages.glob(f'{own}-*.dist-info')):
                shutil.rmtree(package)  # it has lost files with the other


def install_lite() -> None:
    """Install mmcv without operators, and let programs that import mmcv first have ours."""
    remove_other_mmcv('mmcv_lite')
    install('--no-deps', f'mmcv-lite=={MMCV}')
    run(str(PYTHON), '-m', 'selnext_mm', 'ops', '--install', cwd=tempfile.gettempdir())
    say(f'mmcv-lite {MMCV}, its operators computed by torch (MMCV_OPS=cpu or cuda compiles them)')


def install_compiled(facts: dict, choice: str) -> None:
    """Install mmcv with compiled operators, from the cache or after compiling it."""
    cuda_home = find_cuda_home()
    kind, variables = plan_ops(facts, choice, cuda_home)
    folder = cache_folder() / 'wheels' / wheel_key(facts, kind)
    wheels = cached_wheels(facts, kind)
    if not wheels:
        if not shutil.which(os.environ.get('CXX', 'g++')):
            stop('no C++ compiler: install g++ (Debian, Ubuntu: apt-get install g++) or set CXX')
        jobs = os.environ.get('MAX_JOBS') or str(os.cpu_count() or 1)
        minutes = max(1, round((16 if kind == 'cpu' else 45) / int(jobs)))
        say(f'compiling mmcv {MMCV} ({kind}) with {jobs} jobs, about {minutes} minutes, once ...')
        env = dict(os.environ, MMCV_WITH_OPS='1', MAX_JOBS=jobs, **variables)
        site_packages = next((VENV / 'lib').glob('python3*')) / 'site-packages'
        headers = cuda_home and kind != 'cpu' and cuda_headers(cuda_home, site_packages)
        if headers:
            # CPATH comes after the toolkit's own -I folders.
            env['CPATH'] = os.pathsep.join(filter(None, [env.get('CPATH'), headers]))
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as build:
            arguments = ['wheel', '--no-build-isolation', '--no-deps', '-w', build]
            # --no-cache-dir: pip's own cache does not know about torch and CUDA versions.
            run(
                str(PYTHON), '-m', 'pip', *arguments, '--no-cache-dir',
                '--no-binary', 'mmcv', f'mmcv=={MMCV}', env=env,
            )  # fmt: skip
            wheel = next(Path(build).glob('mmcv-*.whl'))
            folder.mkdir(exist_ok=True)
            os.replace(wheel, folder / wheel.name)
        wheels = cached_wheels(facts, kind)
    remove_other_mmcv('mmcv')
    install('--no-deps', '--force-reinstall', str(wheels[0]))
    if not mmcv_installed(MMCV):
        stop(f'mmcv._ext cannot be imported; remove {folder} and run make setup again')
    say(f'mmcv {MMCV} with compiled operators ({kind}) from {wheels[0].parent}')


def install_package() -> None:
    """Install the clone, editable.

    The line in a .pth lets Python find the package from the folder that holds the clone, too: there
    it would take the clone's folder, which has the same name, for a package without modules.
    """
    install('--no-deps', '--no-build-isolation', '-e', str(ROOT))
    site_packages = next((VENV / 'lib').glob('python3*')) / 'site-packages'
    (site_packages / 'selnext_mm_clone.pth').write_text(f'{ROOT}\n', encoding='utf-8')


def stack() -> list[str]:
    lines = (ROOT / 'requirements' / 'openmmlab.txt').read_text(encoding='utf-8').splitlines()
    return [x for x in lines if x.startswith(('mmengine==', 'mmdet==', 'mmpretrain=='))]


def earlier() -> dict:
    """The fingerprint of the environment that is there; {} without."""
    try:
        return json.loads(STAMP.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}


def wished_ops() -> str:
    """MMCV_OPS, else what the environment was made with, else torch."""
    return os.environ.get('MMCV_OPS') or earlier().get('ops') or 'torch'


def fingerprint() -> dict:
    """What the environment was made from; equal fingerprints need no second set-up."""
    digest = hashlib.sha256()
    for name in INPUTS:
        path = ROOT / name
        for file in sorted(path.rglob('*.txt')) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    names = ('TORCH_VERSION', 'TORCHVISION_VERSION', 'TORCH_INDEX_URL')
    variables = {n: os.environ.get(n) for n in names}
    return dict(inputs=digest.hexdigest(), root=str(ROOT), variables=variables, ops=wished_ops())


def main() -> None:
    started = time.time()
    # Container images forbid bytecode now and then. Without it in the environment, which is ours
    # alone, each start of the stack takes twice as long: so all of it is imported once, here.
    forbidden = os.environ.pop('PYTHONDONTWRITEBYTECODE', None)
    python = find_python()
    # A default python3 of another version is no wish for another environment.
    wanted = version_of(python) if '--this-python' in sys.argv[1:] else None
    state = fingerprint()
    if '--cached-wheel' in sys.argv[1:]:
        print(*cached_wheels(torch_facts(), 'cpu')[:1])
        return
    done = earlier() == state and PYTHON.exists()
    if done and (wanted is None or version_of(PYTHON) == wanted):
        return
    if shutil.disk_usage(ROOT).free < 4 << 30:
        stop(f'less than 4 GB free on the disk of {ROOT}; the environment needs about 3')
    say(f'environment in {VENV}')
    make_venv(python, wanted)
    STAMP.unlink(missing_ok=True)
    say('torch and torchvision ...')
    facts = install_torch()
    # An early look, so that a set-up that cannot end does not begin to download the rest.
    plan_ops(facts, state['ops'], find_cuda_home())
    say(f'torch {facts["version"]}; the pinned requirements ...')
    # --no-deps: lock.txt names all that is needed; looking for more takes a minute.
    requirements = ROOT / 'requirements'
    install(
        '--no-deps', f'torchvision=={os.environ.get("TORCHVISION_VERSION", "0.28.0")}', *stack(),
        '-r', str(requirements / 'lock.txt'), '-r', str(requirements / 'dev.txt'),
    )  # fmt: skip
    install_package()
    if state['ops'] == 'torch':
        install_lite()
    else:
        install_compiled(facts, state['ops'])
    names = FIRST_IMPORT if forbidden else FIRST_IMPORT[:1]
    say(f'the first import{", which compiles all to bytecode" if forbidden else ""} ...')
    run(str(PYTHON), '-c', f'import {", ".join(names)}', cwd=tempfile.gettempdir())
    STAMP.write_text(json.dumps(state))
    say(f'done in {time.time() - started:.0f} s; check: .venv/bin/selnext-mm doctor')


if __name__ == '__main__':
    main()
