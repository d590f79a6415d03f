"""The decisions of the set-up; the set-up itself runs before every test."""

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / 'dev'))  # as for the script itself
spec = importlib.util.spec_from_file_location('bootstrap', ROOT / 'dev' / 'bootstrap.py')
bootstrap = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bootstrap)

CPU = dict(version='2.13.0+cpu', cuda=None, gpu=False, python='cp311')
CUDA = dict(version='2.13.0+cu130', cuda='13.0', gpu=True, python='cp311')


@pytest.mark.parametrize('facts', [CPU, CUDA])
def test_nothing_is_compiled_unless_it_is_asked_for(facts):
    assert bootstrap.plan_ops(facts, 'torch', None) == ('torch', {})


def test_cpu_operators_can_be_asked_for_even_beside_a_toolkit():
    for facts in (CPU, CUDA):
        kind, variables = bootstrap.plan_ops(facts, 'cpu', Path('/usr/local/cuda'))
        assert kind == 'cpu'
        assert variables['FORCE_CUDA'] == '0'


def test_cuda_operators_can_be_asked_for():
    kind, variables = bootstrap.plan_ops(CUDA, 'cuda', Path('/opt/cuda'))
    assert kind == 'cuda13.0'
    assert variables == {'FORCE_CUDA': '1', 'CUDA_HOME': '/opt/cuda'}


def test_cuda_operators_without_nvcc_stop_and_say_what_to_do():
    with pytest.raises(SystemExit) as stop:
        bootstrap.plan_ops(CUDA, 'cuda', None)
    text = str(stop.value)
    for word in ('CUDA toolkit 13.0', 'CUDA_HOME', 'MMCV_OPS=torch'):
        assert word in text


@pytest.mark.parametrize(('facts', 'choice'), [(CPU, 'cuda'), (CUDA, 'gpu')])
def test_a_choice_that_cannot_be_met_stops(facts, choice):
    with pytest.raises(SystemExit, match=f'MMCV_OPS={choice}|{choice!r}'):
        bootstrap.plan_ops(facts, choice, Path('/opt/cuda'))


def test_a_wrapper_of_nvcc_is_followed_to_the_toolkit(monkeypatch, tmp_path):
    """A stand-in for nvcc, called by a script in a folder of PATH."""
    toolkit, front = tmp_path / 'cuda-13.0' / 'bin', tmp_path / 'local' / 'bin'
    toolkit.mkdir(parents=True)
    front.mkdir(parents=True)
    real, wrapper = toolkit / 'nvcc', front / 'nvcc'
    real.write_text(f'#!/bin/sh\necho "#\\$ _SPACE_= " >&2; echo "#\\$ _HERE_={toolkit}" >&2\n')
    wrapper.write_text(f'#!/bin/sh\nexec {real} "$@"\n')
    for path in (real, wrapper):
        path.chmod(0o755)
    monkeypatch.delenv('CUDA_HOME', raising=False)
    monkeypatch.setenv('PATH', f'{front}:/usr/bin:/bin')
    assert bootstrap.find_cuda_home() == tmp_path / 'cuda-13.0'
    real.write_text('#!/bin/sh\nexit 1\n')  # says nothing: the folder above its own
    assert bootstrap.find_cuda_home() == tmp_path / 'local'


@pytest.mark.parametrize('own', ['mmcv', 'mmcv_lite'])
def test_the_other_mmcv_goes_before_one_comes(monkeypatch, tmp_path, own):
    site = tmp_path / 'lib' / 'python3.11' / 'site-packages'
    for name in ('mmcv', 'mmcv_lite', 'mmcv_other'):
        (site / f'{name}-2.1.0.dist-info').mkdir(parents=True)
    commands = []
    monkeypatch.setattr(bootstrap, 'VENV', tmp_path)
    monkeypatch.setattr(bootstrap, 'run', lambda *command, **kwargs: commands.append(command))
    bootstrap.remove_other_mmcv(own)
    (other,) = {'mmcv', 'mmcv_lite'} - {own}
    assert [c[-1] for c in commands] == [other.replace('_', '-')]
    # pip would take what has lost its files for installed.
    assert not (site / f'{own}-2.1.0.dist-info').exists()
    assert (site / 'mmcv_other-2.1.0.dist-info').exists()


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
    monkeypatch.setattr(bootstrap.sys, 'version_info', (3, 15, 0))
    monkeypatch.setattr(bootstrap.shutil, 'which', lambda name: None)
    with pytest.raises(SystemExit, match='make setup PYTHON='):
        bootstrap.find_python()


def test_it_needs_the_standard_library_only():
    code = (
        f'import runpy, sys, json; sys.path.append({str(ROOT / "dev")!r}); '
        'before = set(sys.modules); '
        f'runpy.run_path({str(ROOT / "dev/bootstrap.py")!r}, run_name="x"); '
        'new = {m.split(".")[0] for m in set(sys.modules) - before}; '
        'print(json.dumps(sorted(new - set(sys.stdlib_module_names))))'
    )
    out = subprocess.run([sys.executable, '-S', '-c', code], capture_output=True, text=True)
    beside = ['cuda_toolkit', 'installer', 'wheel_cache']
    assert json.loads(out.stdout) == beside, out.stderr


@pytest.fixture
def finished(monkeypatch, tmp_path):
    """An environment that was set up, and the steps that a second call takes."""
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    stamp = tmp_path / 'stamp.json'
    stamp.write_text(json.dumps(bootstrap.fingerprint()))
    steps = []
    monkeypatch.setattr(bootstrap, 'PYTHON', python)
    monkeypatch.setattr(bootstrap, 'STAMP', stamp)
    monkeypatch.setattr(bootstrap, 'find_python', lambda: sys.executable)

    def make_venv(python, wanted):
        steps.append(wanted)
        raise SystemExit('begun')

    monkeypatch.setattr(bootstrap, 'make_venv', make_venv)
    monkeypatch.setattr(sys, 'argv', ['bootstrap.py'])
    return steps


def test_a_finished_setup_is_not_done_again(finished, monkeypatch):
    usage = type('usage', (), {'free': 3 << 30})
    monkeypatch.setattr(bootstrap.shutil, 'disk_usage', lambda path: usage)  # it needs no more
    bootstrap.main()
    assert finished == []


@pytest.mark.parametrize('name', ['MMCV_OPS', 'TORCH_INDEX_URL', 'TORCH_VERSION'])
def test_another_wish_is_another_setup(finished, monkeypatch, name):
    monkeypatch.setenv(name, 'another')
    with pytest.raises(SystemExit, match='begun'):
        bootstrap.main()


def test_the_choice_of_operators_stays_until_another_is_named(finished, monkeypatch):
    monkeypatch.setenv('MMCV_OPS', 'cpu')
    bootstrap.STAMP.write_text(json.dumps(bootstrap.fingerprint()))
    monkeypatch.delenv('MMCV_OPS')
    bootstrap.main()
    assert finished == []
    assert bootstrap.wished_ops() == 'cpu'
    monkeypatch.setenv('MMCV_OPS', 'torch')
    with pytest.raises(SystemExit, match='begun'):
        bootstrap.main()


def test_another_python_is_another_setup_if_it_was_named(finished, monkeypatch):
    real = bootstrap.version_of
    monkeypatch.setattr(
        bootstrap, 'version_of', lambda p: (3, 99) if p == sys.executable else real(p)
    )
    bootstrap.main()
    monkeypatch.setattr(sys, 'argv', ['bootstrap.py', '--this-python'])
    with pytest.raises(SystemExit, match='begun'):
        bootstrap.main()
    assert finished == [(3, 99)]


def test_an_environment_of_another_version_is_kept_unless_it_does_not_fit():
    assert bootstrap.can_stay((3, 11), None)
    assert bootstrap.can_stay((3, 11), (3, 11))
    assert not bootstrap.can_stay((3, 11), (3, 12))
    assert not bootstrap.can_stay((3, 15), None)
    assert not bootstrap.can_stay((), None)


def test_too_little_room_stops_before_anything_is_made(finished, monkeypatch):
    usage = type('usage', (), {'free': 3 << 30})
    monkeypatch.setattr(bootstrap.shutil, 'disk_usage', lambda path: usage)
    monkeypatch.setenv('TORCH_VERSION', 'another')
    with pytest.raises(SystemExit, match='less than 4 GB'):
        bootstrap.main()
    assert finished == []


@pytest.mark.parametrize('name', ['bootstrap', 'installer', 'wheel_cache'])
def test_pythons_that_are_too_old_get_the_message(name):
    # What an old Python would evaluate when it reads the file; newer syntax would stop it earlier.
    text = (ROOT / 'dev' / f'{name}.py').read_text()
    ast.parse(text, feature_version=(3, 8))
    assert 'from __future__ import annotations' in text


def test_a_machine_without_a_gpu_gets_torchs_cpu_build(monkeypatch, tmp_path):
    """pip's answer about torch is the only thing that is made up here."""
    pip = tmp_path / 'python'
    monkeypatch.setattr(bootstrap, 'PYTHON', pip)
    monkeypatch.setattr(bootstrap, 'find_cuda_home', lambda: None)
    monkeypatch.setattr(bootstrap.sys, 'platform', 'linux')
    exists = Path.exists
    driver = Path('/proc/driver/nvidia')
    monkeypatch.setattr(Path, 'exists', lambda p: p != driver and exists(p))
    for name in ('TORCH_INDEX_URL', 'MMCV_OPS'):
        monkeypatch.delenv(name, raising=False)

    def answer(*requirements):
        report = {'install': [{'metadata': {'requires_dist': list(requirements)}}]}
        pip.write_text(f"#!/bin/sh\necho '{json.dumps(report)}'\n")
        pip.chmod(0o755)

    answer('filelock', 'nvidia-cudnn-cu13==9.1; platform_system == "Linux"')
    assert bootstrap.torch_index('2.13.0') == bootstrap.CPU_INDEX
    monkeypatch.setenv('MMCV_OPS', 'cuda')
    assert bootstrap.torch_index('2.13.0') is None
    monkeypatch.delenv('MMCV_OPS')
    monkeypatch.setenv('TORCH_INDEX_URL', 'https://example.org/simple')
    assert bootstrap.torch_index('2.13.0') == 'https://example.org/simple'
    monkeypatch.delenv('TORCH_INDEX_URL')
    monkeypatch.setattr(bootstrap, 'find_cuda_home', lambda: Path('/usr/local/cuda'))
    assert bootstrap.torch_index('2.13.0') is None
    monkeypatch.setattr(bootstrap, 'find_cuda_home', lambda: None)
    answer('filelock', 'sympy')
    assert bootstrap.torch_index('2.13.0') is None


def test_wheels_of_other_gpus_have_other_places(monkeypatch):
    monkeypatch.delenv('TORCH_CUDA_ARCH_LIST', raising=False)
    hopper = bootstrap.wheel_key({**CUDA, 'archs': ['90']}, 'cuda13.0')
    ampere = bootstrap.wheel_key({**CUDA, 'archs': ['80']}, 'cuda13.0')
    assert hopper != ampere
    assert 'sm90' in hopper
    monkeypatch.setenv('TORCH_CUDA_ARCH_LIST', '8.0;9.0+PTX')
    assert 'sm8.0_9.0+PTX' in bootstrap.wheel_key({**CUDA, 'archs': ['90']}, 'cuda13.0')
    assert 'sm' not in bootstrap.wheel_key({**CPU, 'archs': []}, 'cpu')


def test_torchrun_takes_the_projects_environment(tmp_path):
    """From the repository, whose folder of the package must not pass for an installed one."""
    shutil.copytree(ROOT / 'tools', tmp_path / 'tools')
    (tmp_path / 'selnext_mm').mkdir()
    for name in ('__init__.py', 'config_files.py'):
        (tmp_path / 'selnext_mm' / name).touch()
    for folder, text in (
        ('bare', f'exec {sys.executable} -I -S "$@"'),
        ('.venv/bin', 'echo own "$@"'),
    ):
        path = tmp_path / folder / ('python' if folder != 'bare' else 'python3')
        path.parent.mkdir(parents=True)
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)
    env = {k: v for k, v in os.environ.items() if k != 'PYTHON'}
    env['PATH'] = f'{tmp_path / "bare"}:/usr/bin:/bin'
    command = ['tools/dist_train.sh', 'config.py', '2', '--amp']
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.startswith('own -m torch.distributed.run'), done.stdout + done.stderr
    assert done.stdout.endswith('config.py --amp --launcher pytorch\n')
    # An interpreter that was named is taken.
    env['PYTHON'] = '/bin/echo'
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout.startswith('-m torch.distributed.run')


@pytest.mark.skipif(
    Path(sys.prefix) != ROOT / '.venv', reason='another environment than that of make setup'
)
def test_the_package_is_found_beside_a_folder_of_its_name(tmp_path):
    """As from the folder that holds the clone."""
    (tmp_path / 'selnext_mm' / 'selnext_mm').mkdir(parents=True)
    code = 'import selnext_mm; print(selnext_mm.__file__)'
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout.strip() == str(ROOT / 'selnext_mm' / '__init__.py'), result.stderr
