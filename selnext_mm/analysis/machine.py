"""What a measurement was made on: processor, accelerator, threads, versions."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

import selnext_mm

PACKAGES = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'timm')


def cpu_name() -> str:
    """The processor's name as Linux reports it, else its architecture."""
    try:
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine(device: torch.device | None = None) -> dict:
    """JSON-ready facts about the machine of this process.

    Args:
        device: the accelerator to describe; by default torch's current one, if there is one.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    facts = {'cpu': cpu_name(), 'cores': cores, 'threads': torch.get_num_threads()}
    facts['system'] = platform.system()
    if 'SC_PHYS_PAGES' in getattr(os, 'sysconf_names', {}):
        memory = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
        facts['memory_gib'] = round(memory / 2**30, 1)
    facts['isa'] = torch.backends.cpu.get_cpu_capability()
    if device is None:
        device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        facts['gpu'] = properties.name
        facts['gpu_memory_gib'] = round(properties.total_memory / 2**30, 1)
        facts['cuda'] = torch.version.cuda
        facts['cudnn'] = torch.backends.cudnn.version()
    return facts


def versions() -> dict[str, str]:
    """Versions of Python, this package and related packages; in a checkout also its commit."""
    found = {'python': platform.python_version(), 'selnext_mm': selnext_mm.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found['torch'] = torch.__version__
    root = Path(selnext_mm.__file__).resolve().parents[1]
    if (root / '.git').exists():
        git = ['git', 'describe', '--always', '--dirty', '--exclude=*']
        try:
            done = subprocess.run(git, cwd=root, capture_output=True, text=True, check=True)
            found['commit'] = done.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return found
