"""The decisions of the set-up; the set-up itself runs before every test."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location('bootstrap', ROOT / 'tools' / 'bootstrap.py')
bootstrap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bootstrap)

CPU = dict(version='2.13.0+cpu', cuda=None, gpu=False, python='cp311')
CUDA = dict(version='2.13.0+cu130', cuda='13.0', gpu=True, python='cp311')


def test_a_cpu_torch_gets_cpu_operators_even_beside_a_toolkit():
    kind, variables = bootstrap.plan_ops(CPU, '', Path('/usr/local/cuda'))
    assert kind == 'cpu'
    assert variables['FORCE_CUDA'] == '0'


def test_a_cuda_torch_gets_cuda_operators():
    kind, variables = bootstrap.plan_ops(CUDA, '', Path('/opt/cuda'))
    assert kind == 'cuda13.0'
    assert variables == {'FORCE_CUDA': '1', 'CUDA_HOME': '/opt/cuda'}


def test_a_cuda_torch_without_nvcc_stops_and_says_what_to_do():
    with pytest.raises(SystemExit) as stop:
        bootstrap.plan_ops(CUDA, '', None)
    text = str(stop.value)
    for word in ('CUDA toolkit 13.0', 'CUDA_HOME', 'MMCV_OPS=cpu', 'TORCH_INDEX_URL'):
        assert word in text


def test_cpu_operators_can_be_asked_for():
    assert bootstrap.plan_ops(CUDA, 'cpu', None)[0] == 'cpu'


@pytest.mark.parametrize(('facts', 'choice'), [(CPU, 'cuda'), (CUDA, 'gpu')])
def test_a_choice_that_cannot_be_met_stops(facts, choice):
    with pytest.raises(SystemExit, match=f'MMCV_OPS={choice}|{choice!r}'):
        bootstrap.plan_ops(facts, choice, Path('/opt/cuda'))


def test_headers_of_torchs_packages_fill_in_for_a_bare_toolkit(tmp_path):
    toolkit, site = tmp_path / 'cuda', tmp_path / 'site'
    (toolkit / 'include').mkdir(parents=True)
    assert bootstrap.cuda_headers(toolkit, site) is None
    (site / 'nvidia/cu13/include').mkdir(parents=True)
    (site / 'nvidia/cu13/include/cusparse.h').touch()
    assert bootstrap.cuda_headers(toolkit, site) == str(site / 'nvidia/cu13/include')
    (toolkit / 'include/cusparse.h').touch()
    assert bootstrap.cuda_headers(toolkit, site) is None


@pytest.mark.parametrize(
    ('env', 'expected'),
    [
        ({'SELNEXT_MM_CACHE': '/a'}, '/a'),
        ({'XDG_CACHE_HOME': '/b'}, '/b/selnext_mm'),
        ({'HOME': '/c'}, '/c/.cache/selnext_mm'),
    ],
)
def test_the_cache_is_in_the_users_folder(monkeypatch, env, expected):
    for name in ('SELNEXT_MM_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert str(bootstrap.cache_folder()) == expected


def test_an_unsupported_python_without_another_stops(monkeypatch):
    monkeypatch.setattr(bootstrap.sys, 'version_info', (3, 14, 0))
    monkeypatch.setattr(bootstrap.shutil, 'which', lambda name: None)
    with pytest.raises(SystemExit, match='make setup PYTHON='):
        bootstrap.find_python()


def test_it_needs_the_standard_library_only():
    code = (
        'import runpy, sys, json; before = set(sys.modules); '
        f'runpy.run_path({str(ROOT / "tools/bootstrap.py")!r}, run_name="x"); '
        'new = {m.split(".")[0] for m in set(sys.modules) - before}; '
        'print(json.dumps(sorted(new - set(sys.stdlib_module_names))))'
    )
    out = subprocess.run([sys.executable, '-S', '-c', code], capture_output=True, text=True)
    assert json.loads(out.stdout) == [], out.stderr


def test_a_finished_setup_is_not_done_again(monkeypatch, tmp_path):
    state = bootstrap.fingerprint(sys.executable)
    assert state == bootstrap.fingerprint(sys.executable)
    monkeypatch.setenv('MMCV_OPS', 'cpu' if state['variables']['MMCV_OPS'] != 'cpu' else 'cuda')
    assert bootstrap.fingerprint(sys.executable) != state
