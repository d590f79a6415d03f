"""Which processors add up as those did that stored numbers and bounds come from."""

from pathlib import Path

import torch

INFO = Path('/proc/cpuinfo')


def rounds_as_recorded() -> bool:
    """Whether this is a processor with AVX-512 other than AMD's family 26 (Zen 5).

    For Zen 5 oneDNN has other kernels, whose sums differ in the last digits, as with AVX2.
    """
    text = INFO.read_text() if INFO.is_file() else ''
    zen5 = 'AuthenticAMD' in text and any(
        line.split(':')[-1].strip() == '26'
        for line in text.splitlines()
        if line.startswith('cpu family')
    )
    return torch.backends.cpu.get_cpu_capability() == 'AVX512' and not zen5
