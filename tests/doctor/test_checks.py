"""Checks of the environment: made-up facts for the rows, really broken packages for the probes."""

import importlib.machinery
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest

from selnext_mm.doctor import checks as env
from selnext_mm.doctor import remedies as remedies_module
from selnext_mm.doctor.probes import is_found_from_anywhere
from selnext_mm.doctor.remedies import (
    Remedies,
    declared_bounds,
    python_command,
    tightest,
    version_key,
    within,
)
from selnext_mm.doctor.run import run_probe, run_probes
from selnext_mm.mmcv_ext.install import install
from tests.mmcv_ext import calls

STOCK = {'mmengine': '0.10.7', 'mmcv': '2.1.0', 'mmdet': '3.3.0', 'mmpretrain': '1.2.0'}
FORK = {'mmengine': '0.10.12', 'mmcv': '2.3.6', 'mmdet': '3.5.1', 'mmpretrain': '1.3.6'}
BUILD = '--no-build-isolation --no-deps --force-reinstall --no-cache-dir'
PIP = f'{python_command()} -m pip install'
LITE = (
    f'{python_command()} -m pip uninstall -y mmcv mmcv-lite && {PIP} --no-deps "mmcv-lite==2.1.0"'
)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stock():
    return Remedies(STOCK, [('2.0.0rc4', '2.2.0'), ('2.0.0', '2.4.0')])


@pytest.fixture
def fork():
    return Remedies(FORK, [('2.0.0', '2.4.0')])


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Write modules that child processes import in place of the installed ones."""
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{ROOT}')

    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


# --- versions ------------------------------------------------------------------------------


def test_versions_are_ordered_as_releases_are():
    ordered = ['2.0.0.dev1', '2.0.0rc4', '2.0.0', '2.0.1', '2.1', '2.2.0rc1', '2.2.0', '2.10']
    keys = [version_key(version) for version in ordered]
    assert all(low < high for low, high in pairwise(keys))
    assert version_key('2.13.0+cpu') == version_key('2.13')


def test_upper_bound_is_excluded_and_lower_included():
    assert within('2.1.0', '2.1.0', '2.2.0')
    assert not within('2.2.0', '2.1.0', '2.2.0')
    assert not within('', '0.1', '9')


def test_bounds_are_read_from_the_source_of_what_is_installed(monkeypatch):
    source = {
        'mmdet': "mmcv_minimum_version = '2.0.0rc4'\nmmcv_maximum_version = '2.2.0'\nassert 0\n",
        'mmpretrain': 'from .version import __version__\n',  # a fork may set none
    }
    monkeypatch.setattr(remedies_module, 'package_source', lambda package, file: source[package])
    assert declared_bounds('mmcv') == {'mmdet': ('2.0.0rc4', '2.2.0')}
    assert declared_bounds('mmengine') == {}


def test_the_tightest_of_several_bounds_counts():
    bounds = {'': ('2.0.1', '3'), 'mmdet': ('2.0.0rc4', '2.2.0'), 'mmpretrain': ('2.0.0', '2.4')}
    assert tightest(bounds) == ('2.0.1', '2.2.0', 'mmdet')


# --- rows from facts -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ('torch', 'torchvision'),
    [('2.13.0+cpu', '0.28.0'), ('2.1.2', '0.16.2+cu121'), ('2.6', '0.21.')],
)
def test_torchvision_of_the_same_release_passes(stock, torch, torchvision):
    row = env.check_torchvision({'version': torchvision}, {'version': torch}, stock)
    assert row.ok is True
    assert row.remedy == ''


@pytest.mark.parametrize(
    ('asked', 'ok'),
    [
        ('torch (>=2.14.0)', True),
        ('torch==2.15.0', True),
        ('torch>=2.14,<3 ; python_version > "3"', True),
        ('torch (==2.14.1)', False),
        ('torch>=2.14,<2.15', False),
        ('torch~=2.15', False),
        ('torchdata==1', False),
    ],
)
def test_torchvision_is_of_a_release_that_its_metadata_names(stock, monkeypatch, asked, ok):
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: ['numpy', asked])
    monkeypatch.setattr(importlib.metadata, 'version', lambda name: '0.29.2')
    row = env.check_torchvision({'version': '0.29.2+cu132'}, {'version': '2.15.0+cu132'}, stock)
    assert row.ok is ok
    assert row.wanted == 'the release made for torch 2.15.0+cu132'
    assert row.remedy == ('' if ok else f'{PIP} "torch==2.15.0" "torchvision"')


def test_metadata_of_another_torchvision_says_nothing(stock, monkeypatch):
    monkeypatch.setattr(importlib.metadata, 'requires', lambda name: ['torch>=2'])
    row = env.check_torchvision({'version': '0.2.2'}, {'version': '2.13.0'}, stock)
    assert (row.ok, row.wanted) == (False, '0.28.* for torch 2.13.0')


def test_torchvision_of_another_release_fails(stock):
    row = env.check_torchvision({'version': '0.2.2'}, {'version': '2.5.1'}, stock)
    assert row.ok is False
    assert row.wanted == '0.20.* for torch 2.5.1'
    assert row.remedy == f'{PIP} --no-deps --force-reinstall "torchvision==0.20.*"'


def test_declared_torchvision_ops_are_a_note():
    row = env.check_torchvision_ops({'compiled_ops': False})
    assert (row.ok, row.remedy, row.state) == (None, '', 'note')
    assert 'declared by selnext_mm' in row.found


def test_old_torch_fails(stock):
    row = env.check_torch({'version': '2.0.1', 'computes': True}, stock)
    assert row.ok is False
    assert row.remedy == f'{PIP} "torch==2.13.0" "torchvision==0.28.0"'


SETUPTOOLS = [
    ({'version': '80.9.0', 'pkg_resources': True}, True, 'ok'),
    ({'version': '81.0.0', 'pkg_resources': True}, True, 'warn'),
    ({'version': '82.0.0', 'error': "No module named 'pkg_resources'"}, True, 'warn'),
    ({'version': '82.0.0', 'error': "No module named 'pkg_resources'"}, False, 'ok'),
    ({'error': "No module named 'setuptools'"}, False, 'ok'),
]


@pytest.mark.parametrize(('facts', 'needed', 'state'), SETUPTOOLS)
def test_setuptools_counts_only_where_mmengine_needs_it(stock, facts, needed, state):
    row = env.check_setuptools(facts, {'needs_pkg_resources': needed}, stock)
    assert row.state == state
    assert row.remedy == ('' if state == 'ok' else f'{PIP} "setuptools<81"')


def test_mmcv_outside_the_bounds_of_mmdet_fails(stock):
    bounds = {'mmdet': ('2.0.0rc4', '2.2.0')}
    row = env.check_package('mmcv', {'version': '2.2.0'}, stock, bounds)
    assert row.ok is False
    assert '<2.2.0 for mmdet' in row.wanted
    assert row.remedy == LITE


@pytest.mark.parametrize('name', STOCK)
def test_stock_and_fork_versions_are_accepted(stock, name):
    for versions in (STOCK, FORK):
        assert env.check_package(name, {'version': versions[name]}, stock, {}).ok is True


def test_a_fork_is_mended_with_the_fork(fork):
    missing = "ModuleNotFoundError: No module named 'mmcv._ext'"
    row = env.check_ops('mmcv._ext', 'cpu_ops', {'cpu_ops': missing}, fork.mmcv(), fork)
    assert row.remedy == f'MMCV_WITH_OPS=1 {PIP} {BUILD} "onedl-mmcv==2.3.6"'
    assert fork.package('mmdet') == f'{PIP} --no-deps "onedl-mmdetection==3.5.1"'


def test_a_fork_of_mmcv_beside_stock_mmdet_is_replaced():
    mixed = Remedies(STOCK | {'mmcv': '2.3.6'}, [('2.0.0rc4', '2.2.0')])
    assert mixed.mmcv().endswith('"mmcv-lite==2.1.0"')


def test_rows_with_one_cause_get_one_remedy(stock):
    error = {'error': 'ImportError: libtorch_cpu.so: cannot open shared object file'}
    torch = env.check_torch(error, stock)
    ops = env.check_ops('mmcv._ext', 'cpu_ops', {'version': '2.1.0', **error}, 'compile', stock)
    mmdet = env.check_package('mmdet', {'version': '3.3.0', **error}, stock, {})
    assert torch.remedy == ops.remedy == mmdet.remedy
    assert torch.remedy.endswith('"torch==2.13.0" "torchvision==0.28.0"')


CAUSES = [
    ("ModuleNotFoundError: No module named 'mmcv._ext'", LITE),
    ('ImportError: mmcv/_ext.cpython-311.so: undefined symbol: _ZN3c10', LITE),
    ('AssertionError: MMCV==2.2.0 is used but incompatible.', LITE),
    ("ModuleNotFoundError: No module named 'mmpretrain'", '--no-deps "mmpretrain==1.2.0"'),
    ("ModuleNotFoundError: No module named 'yaml'", f'{PIP} "pyyaml"'),
    ("ModuleNotFoundError: No module named 'einops'", f'{PIP} "einops"'),
    ("ModuleNotFoundError: No module named 'imgaug'", f'{PIP} "imaug"'),
    ('ImportError: libGL.so.1: cannot open shared object file', '"opencv-python-headless"'),
    ('no answer in 180 s', 'doctor --timeout 900'),
]


@pytest.mark.parametrize(('error', 'line'), CAUSES)
def test_the_remedy_follows_the_cause(stock, error, line):
    assert line in stock.after(error, 'the usual line')


def test_another_interpreter_is_named_in_full(monkeypatch):
    monkeypatch.setattr(sys, 'executable', '/opt/a b/bin/python3')
    assert python_command() == "'/opt/a b/bin/python3'"


CARD = {'cuda': True, 'cuda_build': '12.4', 'cuda_gib': 24, 'cuda_arch': 'sm_120'}


@pytest.mark.parametrize(
    ('facts', 'driver', 'state'),
    [
        ({'cuda': False, 'cuda_build': None}, '', 'note'),
        ({'cuda': False, 'cuda_build': '13.0'}, '', 'note'),
        ({'cuda': False, 'cuda_build': None}, 'Card, driver 535', 'warn'),
        ({'cuda': False, 'cuda_build': '13.0'}, 'Card, driver 535', 'FAIL'),
        (CARD | {'cuda_computes': True}, 'Card, driver 570', 'ok'),
        (CARD | {'cuda_built_for': ['sm_90'], 'error': 'no kernel image'}, 'Card, driver', 'FAIL'),
    ],
)
def test_cuda_is_optional_but_has_to_work_where_it_is_used(
    stock, monkeypatch, facts, driver, state
):
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    row = env.check_cuda(facts, driver, stock)
    assert row.state == state
    assert bool(row.remedy) == (state in ('warn', 'FAIL'))


def test_hidden_cards_are_left_alone(stock, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    row = env.check_cuda({'cuda': False, 'cuda_build': '13.0'}, 'Card, driver 535', stock)
    assert row.state == 'note'


def test_nvcc_is_asked_for_only_until_the_cuda_ops_of_a_fork_are_compiled(monkeypatch):
    monkeypatch.setattr(env.shutil, 'which', lambda name: None)
    torch = {'cuda_build': '12.4'}
    failed = {'cuda_ops': 'RuntimeError: not compiled'}
    assert env.check_nvcc(torch, {'cuda_ops': 'ok'}, fork=True).ok is True
    row = env.check_nvcc(torch, failed, fork=True)
    assert (row.ok, row.found) == (False, 'absent')
    assert 'CUDA 12.4 toolkit' in row.remedy
    assert env.check_nvcc(torch, failed, fork=False).state == 'note'  # mmcv-lite needs none


@pytest.mark.parametrize(
    ('facts', 'found', 'state'),
    [
        ({'ops_from': 'compiled'}, 'compiled', 'note'),
        ({}, 'not reached', 'note'),
        (
            {'ops_from': 'selnext_mm', 'ops_everywhere': True, 'by_torchvision': ['nms']},
            'by selnext_mm, in torch; torchvision: nms',
            'note',
        ),
        (
            {'ops_from': 'selnext_mm', 'ops_everywhere': False, 'by_torchvision': []},
            'by selnext_mm, in torch; not for programs that import mmcv first',
            'warn',
        ),
    ],
)
def test_the_operators_in_use_are_named(facts, found, state):
    row = env.check_operators(facts)
    assert (row.found, row.state) == (found, state)
    assert row.remedy == ('selnext-mm ops --install' if state == 'warn' else '')


def test_little_disk_fails(monkeypatch, tmp_path):
    usage = SimpleNamespace(free=int(3.25e9))
    monkeypatch.setattr(env.shutil, 'disk_usage', lambda path: usage)
    row = env.check_disk('disk', tmp_path / 'not' / 'there', 5.0)
    assert (row.state, row.found) == ('FAIL', '3.2 GB free')
    assert row.remedy == f'free 1.8 GB under {tmp_path}'
    assert env.check_disk('disk', tmp_path, 3.0).state == 'ok'


# --- probes in really broken environments ---------------------------------------------------


def test_a_crash_is_an_error_and_not_the_end(fake):
    fake('pycocotools/__init__.py', 'import os; os.kill(os.getpid(), 11)')
    assert run_probe('pycocotools') == {'error': 'the process was ended by SIGSEGV'}


def test_an_exit_is_an_error(fake):
    fake('cv2.py', "import sys; print('out of', 'order', file=sys.stderr); sys.exit(3)")
    assert run_probe('opencv') == {'error': 'exit status 3 out of order'}


def test_facts_before_a_hang_are_kept(fake):
    fake('setuptools/__init__.py', "__version__ = '82.0.0'\nprint('noise')")
    fake('pkg_resources.py', 'import time; time.sleep(60)')
    facts = run_probe('setuptools', timeout=3)
    assert facts == {'version': '82.0.0', 'error': 'no answer in 3 s'}


def test_a_failure_in_a_shared_process_is_that_of_one_probe(fake):
    """The first one fails in the company of the others only, the second one always."""
    fake('setuptools/__init__.py', "import sys; assert 'opencv' not in sys.argv; __version__ = '9'")
    fake('pkg_resources.py', '')
    fake('cv2.py', 'import os; os.kill(os.getpid(), 11)')
    ended = []
    names = ['setuptools', 'opencv', 'pycocotools']
    facts = run_probes(names, 60.0, ended.append)
    assert facts == {
        'setuptools': {'version': '9', 'pkg_resources': True},
        'opencv': {'error': 'the process was ended by SIGSEGV'},
        'pycocotools': {'computes': True},
    }
    assert ended == names


def test_probes_that_hold_share_one_process(fake):
    fake('setuptools/__init__.py', "import os; __version__ = f'{os.getpid()}'")
    fake('pkg_resources.py', '')
    fake('transformers/modeling_utils.py', 'def apply_chunking_to_forward(): pass')
    fake('transformers/__init__.py', '')
    fake('transformers-9.9.dist-info/METADATA', 'Name: transformers\nVersion: 9.9\n')
    ended = []
    facts = run_probes(['transformers', 'setuptools'], 60.0, ended.append)
    assert ended == ['transformers', 'setuptools']
    assert facts['transformers']['version'] == '9.9'
    assert facts['setuptools'].keys() == {'version', 'pkg_resources'}


@pytest.mark.parametrize(('entry', 'found'), [('.', False), ('', True)])
def test_a_package_that_only_the_callers_folder_has_is_not_installed(
    tmp_path, monkeypatch, entry, found
):
    (tmp_path / 'selnext_mm').mkdir()
    (tmp_path / 'selnext_mm' / '__init__.py').touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('PYTHONPATH', entry)
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    monkeypatch.setattr(sys, 'meta_path', [importlib.machinery.PathFinder])
    module = sys.modules['selnext_mm']
    assert is_found_from_anywhere() is found
    assert (sys.path, sys.modules['selnext_mm']) == ([str(tmp_path)], module)


def test_libgl_asks_for_the_headless_build(fake, stock):
    fake('cv2.py', "raise ImportError('libGL.so.1: cannot open shared object file')")
    row = env.check_by_probe('opencv', run_probe('opencv'), 'importable', '', stock)
    assert row.ok is False
    assert row.found.startswith('ImportError: libGL.so.1')
    assert row.remedy.endswith(f'{PIP} --force-reinstall --no-deps "opencv-python-headless"')


def test_need_of_pkg_resources_is_found_by_behaviour(fake):
    utils = (
        'def is_installed(name):\n'
        '    try:\n'
        '        import json\n'
        '    except Exception:\n'
        '        import pkg_resources\n'  # named, as in a fork, but never reached
        '    return True\n'
        'get_installed_path = is_installed\n'
    )
    fake('mmengine/__init__.py', "__version__ = '0.10.12'")
    fake('mmengine/utils.py', utils)
    assert run_probe('mmengine')['needs_pkg_resources'] is False
    fake('mmengine/utils.py', utils.replace('import json', 'raise OSError'))
    assert run_probe('mmengine')['needs_pkg_resources'] is True


def test_wrong_values_of_ops_are_reported(fake, stock):
    fake('mmcv/__init__.py', "__version__ = '2.1.0'")
    fake(
        'mmcv/ops.py',
        'import torch\nroi_align = None\n'
        'def nms(boxes, scores, iou_threshold):\n    return boxes, torch.tensor([0, 1, 2])\n',
    )
    facts = run_probe('mmcv')
    assert facts['version'] == '2.1.0'
    row = env.check_ops('mmcv._ext', 'cpu_ops', facts, stock.mmcv(), stock)
    assert row.found.startswith('ArithmeticError: nms gave [0, 1, 2], expected [0, 2]')
    assert row.ok is False


@pytest.mark.parametrize('everywhere', [False, True])
def test_mmcv_without_its_compiled_module_is_proven_with_ours(
    tmp_path, monkeypatch, stock, everywhere
):
    spec = importlib.util.find_spec('mmcv')
    if spec is None:
        pytest.skip('install mmcv to run this')
    source = Path(spec.origin).parent
    shutil.copytree(source, tmp_path / 'mmcv', ignore=shutil.ignore_patterns('_ext*', '*.pyc'))
    monkeypatch.setenv('PYTHONPATH', f'{tmp_path}{os.pathsep}{ROOT}')
    if everywhere:
        install(tmp_path)
    facts = run_probe('mmcv')
    assert env.check_ops('mmcv._ext', 'cpu_ops', facts, stock.mmcv(), stock).ok is True
    row = env.check_operators(facts)
    assert row.found.startswith('by selnext_mm, in torch')
    assert row.state == ('note' if everywhere else 'warn')


@pytest.mark.skipif(
    calls.compiled() is None,
    reason='needs an mmcv with compiled operators: MMCV_OPS=cpu make setup',
)
def test_compiled_operators_are_named():
    assert run_probe('mmcv')['ops_from'] == 'compiled'


TRANSFORMERS = [
    ('def apply_chunking_to_forward(): pass', None, '9.9'),
    ('', False, "9.9: mmpretrain's multimodal models are switched off"),
]


@pytest.mark.parametrize(('source', 'fits', 'found'), TRANSFORMERS)
def test_a_transformers_that_is_too_new_for_mmpretrain_is_named(fake, source, fits, found):
    fake('transformers/__init__.py', 'raise ImportError("nobody has to import it")')
    fake('transformers/modeling_utils.py', source)
    fake('transformers-9.9.dist-info/METADATA', 'Name: transformers\nVersion: 9.9\n')
    facts = run_probe('transformers')
    assert facts['fits'] is (fits is None)
    row = env.check_transformers(facts)
    assert (row.state, row.found) == ('note', found)


def test_mmcv_too_new_for_mmdet_is_mended_at_mmcv(fake, stock):
    fake('mmcv/__init__.py', "__version__ = '2.2.0'")
    fake('mmcv/ops.py', 'import mmcv._ext')
    fake('mmdet/__init__.py', "assert False, 'MMCV==2.2.0 is used but incompatible.'")
    rows = [
        env.check_package('mmcv', run_probe('mmcv'), stock, {'mmdet': ('2.0.0rc4', '2.2.0')}),
        env.check_package('mmdet', run_probe('mmdet'), stock, {}),
    ]
    assert [row.ok for row in rows] == [False, False]
    assert {row.remedy for row in rows} == {LITE}
    assert 'AssertionError: MMCV==2.2.0' in rows[1].found


def test_a_fork_without_metadata_is_accepted(fake, fork):
    fake('mmdet/__init__.py', "__version__ = '3.5.1'")
    fake('mmdet/utils.py', 'def register_all_modules(init_default_scope=True): pass')
    facts = run_probe('mmdet')
    assert env.check_package('mmdet', facts, fork, {}).ok is True


def test_checks_import_nothing_but_the_standard_library(run_tool, root):
    code = (
        'import sys; sys.path.insert(0, sys.argv[1])\n'
        'import selnext_mm.doctor.checks\n'
        'import selnext_mm.cli.doctor'
    )
    done = run_tool(sys.executable, '-S', '-c', code, root)  # -S: no installed packages
    assert done.returncode == 0, done.stderr


def test_the_source_of_a_package_is_read_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ('whole', 'bare'):
        (tmp_path / name).mkdir()
    (tmp_path / 'whole' / '__init__.py').write_text('raise RuntimeError')
    (tmp_path / 'whole' / 'version.py').write_text("__version__ = '1'")
    source = remedies_module.package_source
    assert source('whole', 'version.py') == "__version__ = '1'"
    # No such file, a folder without __init__.py, no such package, a package of no package.
    for package, file in (
        ('whole', 'x.py'),
        ('bare', 'x.py'),
        ('nowhere', 'x.py'),
        ('no.where', 'x'),
    ):
        assert source(package, file) == ''
