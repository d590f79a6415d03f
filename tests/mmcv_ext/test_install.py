"""``mmcv/_ext.py``: written, used where nothing compiled is, and gone without a trace."""

import errno
import importlib.machinery
import os
import subprocess
import sys

import pytest

from selnext_mm.errors import UserError
from selnext_mm.mmcv_ext.install import FILE, install, remove
from tests.mmcv_ext.conftest import ROOT

RECORD = 'mmcv/__init__.py,sha256=x,0\nmmcv/version.py,,\nmmcv_lite-2.1.0.dist-info/RECORD,,\n'


@pytest.fixture
def site(tmp_path):
    """A folder with an mmcv as pip leaves it."""
    for name in ('mmcv', 'mmcv_lite-2.1.0.dist-info', 'other-1.0.dist-info'):
        (tmp_path / name).mkdir()
    (tmp_path / 'mmcv' / '__init__.py').touch()
    (tmp_path / 'mmcv_lite-2.1.0.dist-info' / 'RECORD').write_text(RECORD)
    (tmp_path / 'other-1.0.dist-info' / 'RECORD').write_text('other/__init__.py,,\n')
    return tmp_path


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file()
    }


def run(site, code, *paths):
    path = os.pathsep.join(map(str, (site, *paths)))
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code],
        cwd=site,
        env={**os.environ, 'PYTHONPATH': path, 'PYTHONDONTWRITEBYTECODE': ''},
        capture_output=True,
        text=True,
    )
    lines = (result.stderr if result.returncode else result.stdout).strip().splitlines()
    return lines[-1] if lines else ''


def test_a_program_that_imports_mmcv_first_gets_the_operators(site):
    code = (
        'from mmcv import _ext; import sys; print(_ext.nms.__module__, "selnext_mm" in sys.modules)'
    )
    assert install(site) == site / 'mmcv' / FILE
    assert run(site, code, ROOT) == 'selnext_mm.mmcv_ext.nms True'


def test_it_goes_as_it_came(site):
    before = content(site)
    install(site)
    assert install(site) == site / 'mmcv' / FILE  # a second time changes nothing
    assert set(content(site)) - set(before) == {f'mmcv/{FILE}'}
    record = (site / 'mmcv_lite-2.1.0.dist-info' / 'RECORD').read_text()
    assert record == f'{RECORD}mmcv/{FILE},,\n'
    run(site, 'from mmcv import _ext', ROOT)  # leaves a cache
    assert len(content(site / 'mmcv' / '__pycache__')) == 2
    assert remove(site) == site / 'mmcv' / FILE
    after = content(site)
    assert {k: v for k, v in after.items() if '__pycache__' not in k} == before
    assert not list((site / 'mmcv' / '__pycache__').glob('_ext*'))
    assert remove(site) is None


def test_a_compiled_module_beside_it_comes_first(site):
    """Python tries extension modules before source files."""
    install(site)
    name = f'_ext{importlib.machinery.EXTENSION_SUFFIXES[0]}'
    (site / 'mmcv' / name).write_bytes(b'not a library')
    assert name in run(site, 'from mmcv import _ext', ROOT)
    with pytest.raises(UserError, match='compiled operators, so nothing is needed'):
        install(site)
    assert remove(site)


def test_without_the_package_the_file_says_so(site, tmp_path):
    install(site)
    (tmp_path / 'selnext_mm').mkdir()
    (tmp_path / 'selnext_mm' / '__init__.py').write_text(
        'raise ModuleNotFoundError("No module named \'selnext_mm\'", name="selnext_mm")\n'
    )
    message = run(site, 'from mmcv import _ext')
    assert message.startswith(f'ImportError: {site / "mmcv" / FILE} takes the operators of mmcv')
    assert message.endswith('pip install selnext_mm, or remove that file')


def test_somebody_elses_file_is_left_alone(site):
    path = site / 'mmcv' / FILE
    path.write_text('mine = True\n')
    for function in (install, remove):
        with pytest.raises(UserError, match='not from selnext_mm'):
            function(site)
    assert path.read_text() == 'mine = True\n'


def test_no_mmcv(tmp_path):
    with pytest.raises(UserError, match='no mmcv there'):
        install(tmp_path)


def test_a_folder_that_cannot_be_written_to(site, monkeypatch):
    def refuse(source, target):
        raise PermissionError(errno.EACCES, 'Permission denied', str(target))

    before = content(site)
    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(
        UserError, match=r'_ext.py: Permission denied; run the command as the owner'
    ):
        install(site)
    assert content(site) == before


def test_the_command(site, run_tool):
    before = content(site)
    options = ('--site-packages', site)

    def ops(*arguments):
        result = run_tool(
            *('-m', 'selnext_mm', 'ops', *arguments, *options), env=dict(PYTHONPATH=str(ROOT))
        )
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    assert ops().startswith('in torch, for programs that import selnext_mm')
    assert ops('--install') == f'installed {site / "mmcv" / FILE}'
    assert ops() == f'in torch, for all programs: {site / "mmcv" / FILE}'
    assert ops('--remove') == f'removed {site / "mmcv" / FILE}'
    assert ops('--remove') == 'nothing to remove'
    assert content(site) == before
