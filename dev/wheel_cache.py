"""Where wheels of the compiled mmcv are kept. Uses the standard library only."""

from __future__ import annotations

import os
import platform
from pathlib import Path

MMCV = '2.1.0'


def cache_folder() -> Path:
    default = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'selnext_mm'
    return Path(os.environ.get('SELNEXT_MM_CACHE') or default)


def wheel_key(facts: dict, kind: str) -> str:
    """Folder of mmcv's wheel: what its binary code depends on, the GPUs' architectures included."""
    key = f'mmcv{MMCV}-torch{facts["version"]}-{facts["python"]}-{kind}'
    if kind != 'cpu':
        archs = os.environ.get('TORCH_CUDA_ARCH_LIST') or '+'.join(facts['archs']) or 'all'
        key += '-sm' + ''.join(c if c.isalnum() or c in '.+' else '_' for c in archs)
    return f'{key}-{platform.machine()}'


def cached_wheels(facts: dict, kind: str) -> list[Path]:
    return sorted((cache_folder() / 'wheels' / wheel_key(facts, kind)).glob('mmcv-*.whl'))
