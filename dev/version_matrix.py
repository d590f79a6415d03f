#!/usr/bin/env python3
"""Install the package and its stack in other versions, and try the essentials in each.

    python dev/version_matrix.py --wheel dist/selnext_mm-*.whl COMBINATION...

A combination is PYTHON,REQUIREMENT,... such as ``python3.13,torch==2.14.1,numpy==2.5.*``. Each gets
an empty environment in a temporary folder, the wheel with its extra ``mm`` and the requirements;
removed afterwards. Prints a table in Markdown, one row for each. Tried in each: the import, every
backbone, the operators against stored answers, a training of two iterations, ``selnext-mm doctor``.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BACKBONES = """
import importlib, selnext_mm
from selnext_mm.models.lazy import BACKBONES
from mmengine.registry import MODELS
for name in ('SELNeXt', 'AttentionMobileNetV3', 'PATNet', 'NAResNet', 'NAMobileNetV2'):
    assert MODELS.get(name) is not None, name
    MODELS.build(dict(type=name, **({'arch': 'tiny'} if name == 'SELNeXt' else
                                    {'arch': 't0'} if name == 'PATNet' else
                                    {'depth': 50} if name == 'NAResNet' else {})))
"""
VERSIONS = """
import importlib.metadata as m, sys
print(sys.version.split()[0], *(m.version(n) if n else '-' for n in sys.argv[1:]))
"""
SHOWN = ('torch', 'torchvision', 'numpy', 'mmcv-lite')
TRAIN = """
import sys
from selnext_mm.__main__ import main
assert main(['make-shapes', 'shapes', '--train', '4', '--val', '2']) in (0, None)
settings = ('train_cfg.max_epochs=1', 'train_dataloader.num_workers=0',
            'train_dataloader.batch_size=2', 'train_dataloader.persistent_workers=False')
sys.exit(main(['train', 'mask_rcnn/selnext_atto_shapes.py', '--data-root', 'shapes',
               '--work-dir', 'run', '--cfg-options', *settings]))
"""


def checks(python: Path) -> dict:
    tests = [ROOT / 'tests' / 'mmcv_ext' / f'test_{name}.py' for name in ('parity', 'devices')]
    pytest = [python, '-m', 'pytest', '-q', '-k', 'stored', '-p', 'no:cacheprovider', *tests]
    return {
        'import': [python, '-c', 'import selnext_mm, mmcv.ops, mmdet.models, mmpretrain.models'],
        'backbones': [python, '-c', BACKBONES],
        'operators': pytest,
        'training': [python, '-c', TRAIN],
        'doctor': [python, '-m', 'selnext_mm', 'doctor', '--quiet'],
    }


def run(command, folder: Path, log) -> bool:
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT
    )
    return done.returncode == 0


def try_one(combination: str, wheel: Path, log) -> list[str]:
    """Cells of one row."""
    python, *requirements = combination.split(',')
    with tempfile.TemporaryDirectory() as name:
        folder, started = Path(name), time.time()
        own = folder / 'venv' / 'bin' / 'python'
        stack = f'selnext_mm[mm] @ {wheel.resolve().as_uri()}'
        install = [own, '-m', 'pip', 'install', '-q', stack, 'pytest', 'hypothesis', *requirements]
        made = run([python, '-m', 'venv', folder / 'venv'], folder, log)
        if not (made and run(install, folder, log)):
            return [combination, 'not installable', *['-'] * len(checks(own))]
        log.write(f'installed in {time.time() - started:.0f} s\n')
        shown = [own, '-c', VERSIONS, *SHOWN]
        found = subprocess.run(shown, capture_output=True, text=True, cwd=folder).stdout.split()
        results = []
        for what, command in checks(own).items():
            log.write(f'--- {combination}: {what}\n')
            log.flush()
            results.append('passed' if run(command, folder, log) else 'FAILED')
        return [combination, ' / '.join(found), *results]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--wheel', type=Path, required=True)
    parser.add_argument('--log', type=Path, default=Path('version_matrix.log'))
    parser.add_argument('combinations', nargs='+', metavar='COMBINATION')
    args = parser.parse_args()
    header = ['asked for', f'python / {" / ".join(SHOWN)}', *checks(Path('python'))]
    print(f'| {" | ".join(header)} |\n|{" --- |" * len(header)}', flush=True)
    status = 0
    with open(args.log, 'w', encoding='utf-8') as log:
        for combination in args.combinations:
            cells = try_one(combination, args.wheel, log)
            status |= 'FAILED' in cells or 'not installable' in cells
            print(f'| {" | ".join(cells)} |', flush=True)
    return int(status)


if __name__ == '__main__':
    sys.exit(main())
