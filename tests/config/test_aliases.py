"""Configs by their long names in mmdet's folder: for each its owner, and gone as they came."""

import errno
import os

import pytest
from mmengine.config import Config

from selnext_mm.cli import mim
from selnext_mm.config import aliases
from selnext_mm.config_files import long_names
from selnext_mm.errors import UserError

SHAPES = 'mask-rcnn_selnext-atto_fpn-64_shapes-224.py'
RECORDS = {
    'mmdet': 'mmdet/__init__.py,sha256=x,0\r\nmmdet/.mim/tools/train.py,,\r\n',
    'mmpretrain': 'mmpretrain/__init__.py,sha256=x,0\n',
}


@pytest.fixture
def site(tmp_path):
    """A folder with mmdet and mmpretrain, but no mmseg, as pip leaves them."""
    for name, record in RECORDS.items():
        (tmp_path / name / '.mim' / 'tools').mkdir(parents=True)
        (tmp_path / name / '__init__.py').touch()
        (tmp_path / f'{name}-1.dist-info').mkdir()
        (tmp_path / f'{name}-1.dist-info' / 'RECORD').write_bytes(record.encode())
    return tmp_path


@pytest.fixture
def few(monkeypatch):
    """Four names for each package; all of them are written in one test."""
    names = long_names()
    kept = [
        name
        for package in RECORDS
        for name in [n for n in names if aliases.owner(names[n]) == package][:4]
    ]
    kept.append(SHAPES.removesuffix('.py'))
    monkeypatch.setattr(aliases, 'long_names', lambda: {name: names[name] for name in kept})


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob('*')
    }


def run(capsys, *options):
    assert mim.main([str(option) for option in options]) == 0
    return capsys.readouterr().out.splitlines()


def test_each_config_has_one_owner_and_is_inherited(site):
    aliases.install(site)
    written = list(site.rglob('*.py'))
    own = {p.stem for p in written if p.parent.name == 'selnext_mm'}
    assert len(own) > 100
    assert own == {n for n, leaf in long_names().items() if aliases.owner(leaf) != 'mmseg'}
    path = site / 'mmdet' / '.mim' / 'selnext_mm' / SHAPES
    assert Config.fromfile(path).model.type == 'MaskRCNN'


def test_it_goes_as_it_came(site, capsys, few):
    before = content(site)
    assert run(capsys, '--site-packages', site) == [
        f'{name}: none of our configs ("selnext-mm mim --install" puts them there)'
        for name in ('mmdet', 'mmpretrain')
    ]
    lines = run(capsys, '--install', '--site-packages', site)
    after = content(site)
    assert run(capsys, '--install', '--site-packages', site) == lines  # again: nothing changes
    assert content(site) == after
    record = after['mmdet-1.dist-info/RECORD'].decode()
    assert record.startswith(RECORDS['mmdet'])
    assert f'mmdet/.mim/selnext_mm/{SHAPES},,\r\n' in record
    assert record.count('\r\n') == record.count('\n')
    counts = [len(aliases.texts(name)) for name in RECORDS]
    assert [int(line.split()[0]) for line in lines] == counts
    assert min(counts) >= 4
    states = run(capsys, '--site-packages', site)
    folder = site / 'mmdet' / '.mim' / 'selnext_mm'
    assert states[0] == f'mmdet: {counts[0]} of our configs in {folder}'
    assert len(run(capsys, '--remove', '--site-packages', site)) == 2
    assert content(site) == before
    assert run(capsys, '--remove', '--site-packages', site) == ['nothing to remove']


def test_files_of_another_version_are_renewed(site, capsys, few):
    aliases.install(site)
    complete = content(site)
    folder = site / 'mmdet' / '.mim' / 'selnext_mm'
    (folder / SHAPES).rename(folder / 'old-name.py')
    (line, _) = run(capsys, '--site-packages', site)
    assert line == f'mmdet: configs of another version of ours in {folder}; --install renews them'
    aliases.install(site)
    assert content(site) == complete


def test_files_of_others_are_left(site, few):
    folder = site / 'mmdet' / '.mim' / 'selnext_mm'
    folder.mkdir()
    (folder / 'mine.py').write_text('mine = True\n')
    before = content(site)
    aliases.install(site)
    aliases.remove(site)
    assert content(site) == before


def test_no_package(tmp_path):
    for function in (aliases.install, aliases.remove):
        with pytest.raises(UserError, match='none of mmdet, mmpretrain, mmseg is installed in'):
            function(tmp_path)


def test_a_folder_that_cannot_be_written_to(site, monkeypatch, few):
    def refuse(source, target):
        raise PermissionError(errno.EACCES, 'Permission denied', str(target))

    before = content(site)
    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(UserError, match=r'\.py: Permission denied; run the command as the owner'):
        aliases.install(site)
    assert {k: v for k, v in content(site).items() if v is not None} == {
        k: v for k, v in before.items() if v is not None
    }


@pytest.mark.parametrize('package', aliases.PACKAGES)
def test_no_name_is_also_one_of_the_package(package):
    """mim refuses a name that two files have."""
    folder = aliases.package_folder(package)
    if folder is None:
        pytest.skip(f'{package} is not installed')
    theirs = {
        path.name for path in (folder / '.mim').rglob('*.py') if 'selnext_mm' not in path.parts[-2]
    }
    assert len(theirs) > 100
    assert not theirs & set(aliases.texts(package))
