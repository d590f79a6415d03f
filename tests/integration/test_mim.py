"""``mim`` on the installed wheel: searched by field, trained and tested by a long name."""

import os
import re
import shutil
import sys

import pytest

from selnext_mm.config_files import config_leaves
from selnext_mm.site_files import package_folder
from tests.integration.conftest import SMALL, call

pytestmark = pytest.mark.integration
pytest.importorskip('mim', reason='pip install --no-deps -r requirements/mim.txt')
SHAPES = 'mask-rcnn_selnext-atto_fpn-64_shapes-224'


@pytest.fixture
def mim(site, tmp_path):
    """Run mim in an empty folder; returns what it printed and its exit status."""
    path = os.pathsep.join([site[0]['PYTHONPATH'], os.environ.get('PYTHONPATH', '')])

    def run(*arguments, first=''):
        command = (sys.executable, '-W', 'ignore', '-m', 'mim', *arguments)
        env = dict(PYTHONPATH=os.pathsep.join([str(first), path]), OMP_NUM_THREADS='1')
        result = call(*command, cwd=tmp_path, env=env)
        return result.stdout + result.stderr, result.returncode

    return run


def test_every_listed_config_is_found(mim):
    text, status = mim('search', 'selnext_mm', '--valid-config')
    assert status == 0, text
    found = re.findall(r"'(\S+)'", text)
    assert len(found) == len(set(found)) > 100
    assert len(found) <= len(config_leaves())
    text, _ = mim('search', 'selnext_mm', '--config', SHAPES)
    assert re.findall(r'^config id: (\S+)$', text, re.M) == [SHAPES]


def test_what_is_searched_for_is_shown(mim):
    fields = ('--field', 'epochs', 'training_data', 'parameters')
    text, status = mim('search', 'selnext_mm', '--model', 'seln mask_rcnn', *fields)
    assert status == 0, text
    rows = text.partition('config id: mask-rcnn_selnext-t_fpn_amp-ms-crop-3x_coco\n')[2]
    assert [line.split() for line in rows.splitlines()[:3]] == [
        ['epochs', '36'],
        ['parameters', '54632904'],
        ['training_data', 'coco'],
    ]


def test_a_long_name_is_trained_and_tested(mim, shapes_root, tmp_path):
    options = ('--data-root', shapes_root, '--work-dir', 'work', '--cfg-options', *SMALL)
    text, status = mim('train', 'selnext_mm', f'{SHAPES}.py', *options)
    assert status == 0, text[-3000:]
    checkpoint = tmp_path / 'work' / 'epoch_2.pth'
    text, status = mim(
        *('test', 'selnext_mm', f'{SHAPES}.py', '--checkpoint', checkpoint),
        *('--data-root', shapes_root, '--work-dir', 'tested'),
    )
    assert status == 0, text[-3000:]
    assert 'coco/segm_mAP' in text


def test_names_that_two_folders_share_are_refused(mim):
    text, status = mim('train', 'selnext_mm', 'selnext_t_1x_coco.py')
    assert status
    assert 'we find multiple config files with same name' in text


@pytest.fixture
def view(tmp_path):
    """A folder of links to the installed mmdet, so that nothing is put into that itself."""
    real = package_folder('mmdet')
    folder = tmp_path / 'view'
    (folder / 'mmdet' / '.mim').mkdir(parents=True)
    for source in (real, real / '.mim'):
        for path in source.iterdir():
            target = folder / path.relative_to(real.parent)
            if not target.exists():
                target.symlink_to(path)
    (info,) = real.parent.glob('mmdet-*.dist-info')
    shutil.copytree(info, folder / info.name)
    return folder


def test_mmdet_finds_a_long_name_after_the_command(mim, site, view, shapes_root, tmp_path):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'shapes').symlink_to(shapes_root)  # where the config has it
    alone = [f'{name}_dataloader.persistent_workers=False' for name in ('train', 'val', 'test')]
    options = ('--work-dir', tmp_path / 'work', '--cfg-options', *SMALL, *alone)
    train = ('train', 'mmdet', f'{SHAPES}.py', *options)
    text, status = mim(*train, first=view)
    assert status
    assert 'can not find the config file in codebase mmdet' in text
    env = dict(PYTHONPATH=site[0]['PYTHONPATH'])
    command = (sys.executable, '-m', 'selnext_mm', 'mim', '--site-packages', view)
    result = call(*command, '--install', cwd=tmp_path, env=env)
    assert result.returncode == 0, result.stderr
    text, status = mim(*train, first=view)
    assert status == 0, text[-3000:]
    assert (tmp_path / 'work' / 'epoch_2.pth').is_file()
    result = call(*command, '--remove', cwd=tmp_path, env=env)
    assert not (view / 'mmdet' / '.mim' / 'selnext_mm').exists(), result.stderr
