"""The source distribution builds, and the wheel that is built from it has all files of the tree."""

import ast
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from selnext_mm.doctor.checks import NEWEST_PYTHON, OLDEST_PYTHON

ROOT = Path(__file__).resolve().parents[2]
BUILD = 'from setuptools import build_meta as b; import sys; print(b.build_{kind}(sys.argv[1]))'


def build(kind, folder, target):
    """Build from ``folder`` without the network; gives the file."""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', BUILD.format(kind=kind), target],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return target / done.stdout.strip().splitlines()[-1]


def tracked(*folders):
    """Files of the checkout, as git knows them."""
    listed = subprocess.run(
        ['git', 'ls-files', '--cached', '--others', '--exclude-standard', *folders],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip('needs a git checkout')
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


@pytest.fixture(scope='module')
def built(tmp_path_factory):
    """Names in the source distribution, and in the wheel that is built from it alone."""
    folder = tmp_path_factory.mktemp('packaging')
    clone = folder / 'clone'
    for name in tracked():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        (clone / name).write_bytes((ROOT / name).read_bytes())
    archive = build('sdist', clone, folder)
    with tarfile.open(archive) as file:
        file.extractall(folder / 'source', filter='data')
        inside = {name.partition('/')[2] for name in file.getnames()}
    (source,) = (folder / 'source').iterdir()
    with zipfile.ZipFile(build('wheel', source, folder)) as file:
        texts = {n: file.read(n) for n in file.namelist() if n.endswith('METADATA')}
        return inside, set(file.namelist()), next(iter(texts.values())).decode()


def test_the_source_distribution_has_what_it_is_built_from(built):
    wanted = tracked('selnext_mm', 'configs', 'tools', 'requirements')
    wanted |= {'setup.py', 'pyproject.toml', 'model-index.yml', 'README.md', 'LICENSE'}
    assert wanted <= built[0]


def test_the_wheel_has_the_package_its_configs_and_tools(built):
    wanted = tracked('selnext_mm')
    wanted |= {f'selnext_mm/.mim/{name}' for name in tracked('configs', 'tools')}
    wanted |= {'selnext_mm/.mim/model-index.yml', 'selnext_mm/py.typed'}
    assert wanted <= built[1]
    others = {name.split('/')[0] for name in built[1]} - {'selnext_mm'}
    assert all(name.endswith('.dist-info') for name in others), others


def test_neither_carries_trained_weights(built):
    assert any(name.startswith('weights/') for name in tracked())
    for names in built[:2]:
        assert not [n for n in names if n.startswith('weights/') or n.endswith('.safetensors')]


def test_the_extra_mm_names_the_whole_stack(built):
    lines = [x for x in built[2].splitlines() if x.endswith(('extra == "mm"', "extra == 'mm'"))]
    names = {x.split(':')[1].strip().split(';')[0].split('=')[0].split('>')[0] for x in lines}
    assert names >= {'torch', 'mmengine', 'mmcv-lite', 'mmdet', 'mmpretrain', 'pycocotools'}
    assert 'mmcv' not in names


def keyword(name):
    """The literal that ``setup(...)`` is given as ``name``."""
    for node in ast.walk(ast.parse((ROOT / 'setup.py').read_text())):
        if isinstance(node, ast.keyword) and node.arg == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f'setup.py gives no {name}')


def test_all_places_name_the_same_versions_of_python():
    bootstrap = (ROOT / 'dev' / 'bootstrap.py').read_text()
    supported = ast.literal_eval(re.search(r'^SUPPORTED = (.+)$', bootstrap, re.M)[1])
    assert supported == (OLDEST_PYTHON, NEWEST_PYTHON)
    assert keyword('python_requires') == '>={}.{}'.format(*OLDEST_PYTHON)
    classifiers = keyword('classifiers')
    assert len([c for c in classifiers if c.startswith('Development Status ::')]) == 1
    listed = [re.fullmatch(r'Programming Language :: Python :: 3\.(\d+)', c) for c in classifiers]
    minors = [int(match[1]) for match in listed if match]
    assert minors == list(range(OLDEST_PYTHON[1], NEWEST_PYTHON[1] + 1))
