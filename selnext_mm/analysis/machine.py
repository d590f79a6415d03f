"""What a measurement was made on: processor, device, threads, versions."""

import os
import platform
from importlib import import_module
from pathlib import Path

import torch

import selnext_mm

PACKAGES = ('torch', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'timm')


def processor() -> str:
    """The processor's name as Linux tells it, else its architecture."""
    info = Path('/proc/cpuinfo')
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict:
    """JSON-ready facts on the machine of this process."""
    return dict(
        system=platform.system(),
        processor=processor(),
        cores=os.cpu_count(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu',
    )


def versions() -> dict[str, str]:
    """Versions of Python, this package and its relatives, as far as they can be imported."""
    found = dict(python=platform.python_version(), selnext_mm=selnext_mm.__version__)
    for name in PACKAGES:
        try:
            found[name] = import_module(name).__version__
        except Exception:  # a broken optional package is the doctor's business
            found[name] = 'not installed'
    return found
