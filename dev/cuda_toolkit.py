"""What compiles mmcv's operators, and where the CUDA toolkit is. Standard library only."""

# Read by the Pythons that are too old, too, see bootstrap.py.
from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from installer import stop


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


def plan_ops(facts: dict, choice: str, cuda_home: Path | None) -> tuple[str, dict]:
    """Where mmcv's operators come from: ('torch', 'cpu' or 'cuda13.0', variables to compile with).

    Args:
        facts: of ``torch_facts`` in bootstrap.py.
        choice: MMCV_OPS.
        cuda_home: toolkit folder or None.
    """
    if choice not in ('torch', 'cpu', 'cuda'):
        stop(f'MMCV_OPS={choice!r}; expected torch, cpu or cuda')
    if choice == 'torch':
        return 'torch', {}
    if choice == 'cuda' and not facts['cuda']:
        stop(f'MMCV_OPS=cuda, but torch {facts["version"]} is a CPU build; install a CUDA build')
    if choice == 'cpu':
        return 'cpu', {'FORCE_CUDA': '0', 'CUDA_VISIBLE_DEVICES': ''}
    if cuda_home is None:
        stop(
            "MMCV_OPS=cuda compiles mmcv's CUDA operators, and there is no nvcc. Do one of these:\n"
            f'  - install the CUDA toolkit {facts["cuda"]} (or set CUDA_HOME to where it is);\n'
            '  - without a compiler, on the GPU, too: MMCV_OPS=torch make setup'
        )
    return f'cuda{facts["cuda"]}', {'FORCE_CUDA': '1', 'CUDA_HOME': str(cuda_home)}
