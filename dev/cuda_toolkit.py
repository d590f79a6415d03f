"""Where the CUDA toolkit is that compiles mmcv. Uses the standard library only."""

# Read by the Pythons that are too old, too, see bootstrap.py.
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def find_cuda_home() -> Path | None:
    """Folder of the CUDA toolkit (with bin/nvcc), or None."""
    nvcc = shutil.which('nvcc')
    candidates = [os.environ.get('CUDA_HOME'), nvcc and toolkit_of(nvcc), '/usr/local/cuda']
    return next((Path(c) for c in candidates if c and Path(c, 'bin', 'nvcc').exists()), None)


def toolkit_of(nvcc: str) -> str:
    """Folder of the toolkit that ``nvcc`` belongs to, which may be a script that calls another."""
    command = [nvcc, '--dryrun', '-E', '-x', 'cu', os.devnull]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return str(Path(nvcc).resolve().parents[1])
    # "#$ _HERE_=/usr/local/cuda-13.0/bin"
    here = [x.partition('=')[2] for x in done.stderr.splitlines() if x.startswith('#$ _HERE_=')]
    return str(Path(here[0] if here else Path(nvcc).resolve().parent).parent)


def cuda_headers(cuda_home: Path, site_packages: Path) -> str | None:
    """Folder with the math-library headers, if the toolkit has none and torch's packages do."""
    if Path(cuda_home, 'include', 'cusparse.h').exists():
        return None
    found = sorted(site_packages.glob('nvidia/*/include/cusparse.h'))
    return str(found[0].parent) if found else None
