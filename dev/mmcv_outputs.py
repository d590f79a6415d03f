#!/usr/bin/env python3
"""Store what the compiled operators of mmcv answer to the cases of tests/mmcv_ext/cases.py, and
what detectors compute with them (tests/mmcv_ext/detector_step.py).

    python dev/mmcv_outputs.py

Tests compare our operators with these files where no compiled mmcv is installed. Needs one
("MMCV_OPS=cpu make setup"). Run it again after a change of the cases.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.mmcv_ext.calls import compiled  # noqa: E402
from tests.mmcv_ext.cases import FAMILIES, STORED, answers  # noqa: E402


def store_detectors() -> None:
    from tests.mmcv_ext.detector_step import DETECTORS

    script = ROOT / 'tests' / 'mmcv_ext' / 'detector_step.py'
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', script, *DETECTORS], cwd=folder, check=True,
            env=dict(os.environ, PYTHONPATH=str(ROOT)), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{')]
    path = STORED / 'detectors.json'
    path.write_text(json.dumps({line['name']: line for line in lines}, indent=0) + '\n')
    print(f'{path.relative_to(ROOT)}: {len(lines)} detectors')


def main() -> int:
    ext = compiled()
    if ext is None:
        print('error: mmcv has no compiled operators here; "MMCV_OPS=cpu make setup" makes an '
              'environment that has them', file=sys.stderr)  # fmt: skip
        return 2
    STORED.mkdir(parents=True, exist_ok=True)
    for family in FAMILIES:
        path, found = STORED / f'{family}.npz', answers(ext, family)
        np.savez_compressed(path, **found)
        cases = len({name.split('/')[0] for name in found})
        print(f'{path.relative_to(ROOT)}: {cases} cases, {path.stat().st_size / 1024:.0f} KiB')
    store_detectors()
    return 0


if __name__ == '__main__':
    sys.exit(main())
