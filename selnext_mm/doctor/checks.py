"""What the package needs from its environment, as rows of a table.

:func:`inspect_environment` runs the probes of ``probes.py`` in separate processes, so
that a broken binary costs one row and not the whole command, and turns their facts into
:class:`Row` objects. Versions come from imported modules, never from a distribution's name:
the onedl forks, which have the same import names, pass. Only the standard library is imported here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from selnext_mm.doctor.pairing import fits, release_for
from selnext_mm.doctor.probes import PROBES, Facts
from selnext_mm.doctor.remedies import (
    PINS,
    TORCH_PIN,
    Bounds,
    Remedies,
    declared_bounds,
    source_version,
    tightest,
    within,
)
from selnext_mm.doctor.run import Told, run_probes

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)
OLDEST_TORCH = '2.1'


@dataclass(frozen=True)
class Row:
    """One requirement; ``ok`` is None for a note, or for a warning if there is a ``remedy``."""

    name: str
    found: str
    wanted: str
    ok: bool | None
    remedy: str = ''

    @property
    def state(self) -> str:
        if self.ok is None:
            return 'warn' if self.remedy else 'note'
        return 'ok' if self.ok else 'FAIL'


def shown(facts: Facts) -> str:
    """What a probe found, as a string: a version, an error or both."""
    return '; '.join(str(facts[key]) for key in ('version', 'error') if facts.get(key))


def check_python() -> Row:
    low, high = ('.'.join(map(str, version)) for version in (OLDEST_PYTHON, NEWEST_PYTHON))
    ok = OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON
    line = f'python{high} -m venv .venv && . .venv/bin/activate && make setup'
    return Row('python', sys.version.split()[0], f'{low} to {high}', ok, '' if ok else line)


def check_setuptools(facts: Facts, mmengine: Facts, remedies: Remedies) -> Row:
    if mmengine.get('needs_pkg_resources') is False:
        found = str(facts.get('version', 'absent'))
        return Row('setuptools', found, 'any: this mmengine does without', True)
    found, line = shown(facts), remedies.pip('setuptools<81')
    wanted = '<81: mmengine imports its pkg_resources'
    if not facts.get('pkg_resources'):
        where = 'without pkg_resources: given by selnext_mm, not where mmengine is imported first'
        return Row('setuptools', f'{facts.get("version", "absent")}, {where}', wanted, None, line)
    if not within(str(facts['version']), '0', '81'):
        return Row('setuptools', f'{found}, pkg_resources still there', wanted, None, line)
    return Row('setuptools', found, wanted, True)


def check_numpy(facts: Facts, remedies: Remedies) -> Row:
    error = str(facts.get('error', ''))
    # If the import works, the failure is in a torch that was built for numpy 1.
    line = remedies.pip('numpy<2') if 'version' in facts else remedies.reinstall('numpy')
    remedy = remedies.after(error, line) if error else ''
    return Row('numpy', shown(facts), 'shared with torch', not error, remedy)


def check_by_probe(name: str, facts: Facts, wanted: str, line: str, remedies: Remedies) -> Row:
    """A package without version requirements: its probe has to pass."""
    error = str(facts.get('error', ''))
    remedy = remedies.after(error, line) if error else ''
    return Row(name, shown(facts) or 'works', wanted, not error, remedy)


def check_torch(facts: Facts, remedies: Remedies) -> Row:
    version = str(facts.get('version', ''))
    ok = 'computes' in facts and within(version, OLDEST_TORCH, '3')
    wanted = f'>={OLDEST_TORCH} (tested {TORCH_PIN})'
    if ok:  # an error after that point is due to the GPU
        return Row('torch', version, wanted, True)
    line = remedies.after(str(facts.get('error', '')), remedies.torch())
    return Row('torch', shown(facts), wanted, False, line)


def check_torchvision(facts: Facts, torch: Facts, remedies: Remedies) -> Row:
    """Whether torchvision is the release made for this torch."""
    version = str(torch.get('version', ''))
    error = str(facts.get('error', ''))
    if not version.startswith('2.'):
        line = remedies.after(error, remedies.torch())
        return Row('torchvision', shown(facts), 'the release made for torch', False, line)
    # A wrong pair may fail to import: then the version is read from its source.
    own = str(facts.get('version') or source_version('torchvision'))
    paired, release = fits(own, version), release_for(version)
    line = remedies.pip(f'torch=={version.split("+")[0]}', 'torchvision')
    if release:
        line = remedies.pip(f'torchvision=={release}', options='--no-deps --force-reinstall')
    if error and not paired:
        remedies.lines[error] = line
    remedy = remedies.after(error, '' if paired and not error else line)
    wanted = f'{release or "the release made"} for torch {version}'
    return Row('torchvision', '; '.join(filter(None, (own, error))), wanted, not remedy, remedy)


def check_torchvision_ops(facts: Facts) -> Row:
    """A note: nothing here needs torchvision's compiled ops, only its import has to succeed."""
    loaded = {True: 'loaded', False: 'not loadable: declared by selnext_mm'}
    found = loaded.get(facts.get('compiled_ops'), 'not reached')
    wanted = 'for torchvision.models.detection alone; from the same index as torch they load'
    return Row('torchvision ops', found, wanted, None)


def check_package(name: str, facts: Facts, remedies: Remedies, declared: Bounds) -> Row:
    """An OpenMMLab package: its version, the bounds that others ``declared``, and its import."""
    pin = PINS[name]
    low, high, owner = tightest({'': pin.bounds} | declared)
    version = str(facts.get('version') or source_version(name))
    error = str(facts.get('error', ''))
    # A crash while mmcv's ops run belongs to their own row.
    ok = within(version, low, high) and (not error or 'ops_reached' in facts)
    tested = [f'tested {pin.stock}'] if within(pin.stock, low, high) else []
    tested += [f'fork {pin.fork_version}'] if within(pin.fork_version, low, high) else []
    wanted = f'>={low},<{high}{f" for {owner}" if owner else ""} ({", ".join(tested)})'
    found = version if ok else '; '.join(filter(None, (version, error)))
    return Row(name, found, wanted, ok, '' if ok else remedies.after(error, remedies.package(name)))


def check_ops(name: str, key: str, facts: Facts, line: str, remedies: Remedies) -> Row:
    """mmcv's compiled ops on one kind of device; ``key`` is the fact that proves them."""
    outcome = str(facts.get(key) or facts.get('error') or 'not reached')
    wanted = 'nms, RoIAlign forward and backward'
    if outcome == 'ok':
        return Row(name, 'right values', wanted, True)
    return Row(name, outcome, wanted, False, remedies.after(outcome, line))


def check_operators(facts: Facts) -> Row:
    """A note on which operators of mmcv are in use; a warning if stock programs have none."""
    wanted, source = 'compiled, or by selnext_mm for all programs', facts.get('ops_from')
    if source != 'selnext_mm':
        return Row('mmcv operators', str(source or 'not reached'), wanted, None)
    by_torchvision = ', '.join(facts['by_torchvision'])
    found = f'by selnext_mm, in torch{f"; torchvision: {by_torchvision}" if by_torchvision else ""}'
    if facts['ops_everywhere']:
        return Row('mmcv operators', found, wanted, None)
    found += '; not for programs that import mmcv first'
    return Row('mmcv operators', found, wanted, None, 'selnext-mm ops --install')


def check_transformers(facts: Facts) -> Row:
    """A note on the work-around for a transformers that is too new for mmpretrain."""
    off = ": mmpretrain's multimodal models are switched off" if facts.get('fits') is False else ''
    found = f'{facts.get("version", "absent")}{off}'
    return Row('transformers', found, 'optional; <5 for multimodal models', None)


def driver_report() -> str:
    """``name, driver, memory`` of the first GPU from the NVIDIA driver; '' if there is none."""
    try:
        child = subprocess.run(
            ['nvidia-smi', '--query-gpu=name,driver_version', '--format=csv,noheader'],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ''
    if child.returncode or not child.stdout.strip():
        return ''
    name, driver = child.stdout.splitlines()[0].rsplit(',', 1)
    return f'{name.strip()}, driver {driver.strip()}'


def check_cuda(facts: Facts, driver: str, remedies: Remedies) -> Row:
    build = facts.get('cuda_build')
    wanted = f'optional; torch is built for {f"CUDA {build}" if build else "the CPU"}'
    if facts.get('cuda'):
        found = f'{driver or facts.get("cuda_name", "")}, {facts.get("cuda_gib", "?")} GiB'
        if 'cuda_computes' in facts:
            return Row('CUDA', found, wanted, True)
        arch, built = facts.get('cuda_arch'), ' '.join(facts.get('cuda_built_for', []))
        line = f'install a torch built for {arch}; this one is built for {built}'
        return Row('CUDA', f'{found}; {facts.get("error", "no answer")}', wanted, False, line)
    hidden = os.environ.get('CUDA_VISIBLE_DEVICES')
    if not driver or hidden in ('', '-1'):
        found = f'{driver}, hidden by CUDA_VISIBLE_DEVICES' if driver else 'none: the CPU is used'
        return Row('CUDA', found, wanted, None)
    if build:
        line = 'update the NVIDIA driver, or install a torch for the CUDA that nvidia-smi prints'
        return Row('CUDA', f'{driver}, not usable by torch', wanted, False, line)
    return Row('CUDA', f'{driver}, unused', wanted, None, remedies.torch('--force-reinstall'))


def check_nvcc(torch: Facts, mmcv: Facts, fork: bool) -> Row:
    """The CUDA compiler, which is needed if a fork's CUDA ops have yet to be compiled."""
    folders = [os.environ.get('CUDA_HOME', ''), os.environ.get('CUDA_PATH', ''), '/usr/local/cuda']
    places = [os.path.join(folder, 'bin', 'nvcc') for folder in folders if folder]
    nvcc = next(filter(None, map(shutil.which, [*places[:-1], 'nvcc', places[-1]])), None)
    found = 'absent'
    if nvcc:
        try:
            child = subprocess.run([nvcc, '--version'], capture_output=True, text=True, timeout=30)
            match = re.search(r'release (\d+\.\d+)', child.stdout)
            found = match[1] if match else 'of unknown version'
        except (OSError, subprocess.TimeoutExpired):
            found = 'not runnable'
    build = str(torch.get('cuda_build'))
    if mmcv.get('cuda_ops') == 'ok':
        return Row('nvcc', found, 'not needed: the CUDA ops work', True)
    if not fork:
        return Row('nvcc', found, 'optional: MMCV_OPS=cuda make setup compiles mmcv', None)
    ok = found.split('.')[0] == build.split('.')[0]
    line = f'install the CUDA {build} toolkit and set CUDA_HOME to its folder'
    return Row('nvcc', found, f'{build}, to compile mmcv', ok, '' if ok else line)


def check_selnext_mm(facts: Facts, remedies: Remedies) -> Row:
    root = Path(__file__).resolve().parents[2]
    line = remedies.reinstall('selnext_mm')
    if (root / 'pyproject.toml').exists():
        line = remedies.pip(options=f'--no-build-isolation --no-deps -e {shlex.quote(str(root))}')
    wanted = 'installed; MODELS builds SELNeXt from any folder'
    error = str(facts.get('error', ''))
    if error:
        remedy = line if "'selnext_mm" in error else remedies.after(error, line)
        return Row('selnext_mm', shown(facts), wanted, False, remedy)
    scopes = f'{facts["version"]}, in {", ".join(facts["scopes"])}'
    folder = Path(str(facts['folder'])).resolve()
    if folder != root / 'selnext_mm':
        return Row('selnext_mm', f'{scopes}; another copy: {folder}', wanted, None, line)
    return Row('selnext_mm', scopes, wanted, True)


def check_disk(name: str, folder: Path, min_free_gb: float) -> Row:
    """Fails below ``min_free_gb`` (10^9 bytes), which the set-up and a first run need."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    line = f'free {min_free_gb - free:.1f} GB under {existing}'
    line += ', or set TORCH_HOME to a folder on a larger disk' if name == 'disk, cache' else ''
    ok = free >= min_free_gb
    wanted = f'{min_free_gb:g} GB (--min-free-gb)'
    return Row(name, f'{free:.1f} GB free', wanted, ok, '' if ok else line)


def cache_folder() -> Path:
    """Where torch and mmengine keep downloaded weights."""
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(os.environ.get('TORCH_HOME') or os.path.join(cache, 'torch')).expanduser()


def inspect_environment(
    min_free_gb: float = 5.0, timeout: float = 180.0, told: Told = lambda name: None
) -> list[Row]:
    """All rows, in the order in which failures are best fixed.

    ``timeout`` (seconds) applies to the probes that share a process; ``told`` is called with the
    name of each finished probe.
    """
    facts = run_probes(PROBES, timeout, told)
    torch, mmcv = facts['torch'], facts['mmcv']
    versions = {name: str(facts[name].get('version') or source_version(name)) for name in PINS}
    bounds = {name: declared_bounds(name) for name in PINS}
    remedies = Remedies(versions, list(bounds['mmcv'].values()))

    def package(name: str) -> Row:
        return check_package(name, facts[name], remedies, bounds[name])

    def by_probe(name: str, wanted: str, distribution: str) -> Row:
        line = remedies.reinstall(distribution)
        return check_by_probe(name, facts[name], wanted, line, remedies)

    rows = [
        check_python(),
        check_setuptools(facts['setuptools'], facts['mmengine'], remedies),
        check_numpy(facts['numpy'], remedies),
        check_torch(torch, remedies),
        check_torchvision(facts['torchvision'], torch, remedies),
        check_torchvision_ops(facts['torchvision']),
        check_cuda(torch, driver_report(), remedies),
        by_probe('opencv', 'importable', 'opencv-python-headless'),
        package('mmengine'),
        package('mmcv'),
        check_operators(mmcv),
        check_ops('mmcv._ext', 'cpu_ops', mmcv, remedies.mmcv(), remedies),
    ]
    if torch.get('cuda'):
        line = remedies.mmcv(cuda=True)
        rows += [
            check_nvcc(torch, mmcv, remedies.fork),
            check_ops('mmcv CUDA ops', 'cuda_ops', mmcv, line, remedies),
        ]
    return [
        *rows,
        by_probe('pycocotools', 'mask encode, decode, iou', 'pycocotools'),
        package('mmdet'),
        package('mmpretrain'),
        check_transformers(facts['transformers']),
        check_selnext_mm(facts['selnext_mm'], remedies),
        check_disk('disk, this folder', Path.cwd(), min_free_gb),
        check_disk('disk, cache', cache_folder(), min_free_gb),
    ]
