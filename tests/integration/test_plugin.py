"""The package in somebody else's project: a built wheel, another folder, stock configs."""

import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.integration.conftest import CONFIG, ROOT, call

pytestmark = pytest.mark.integration

HEAD = """
_base_ = {base!r}
custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)
backbone = dict(_delete_=True, type='SELNeXt', arch={arch!r}, out_indices={out})
model = dict(backbone=backbone, {rest})
"""
CHANNELS = '[40, 80, 160, 320]'
# name -> (base config, arch, out_indices, what else changes)
PROJECTS = {
    'retinanet': (
        'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', 'atto', '(0, 1, 2, 3)',
        f'neck=dict(in_channels={CHANNELS})',
    ),
    'fcos': (
        'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py', 'atto', '(0, 1, 2, 3)',
        f'neck=dict(in_channels={CHANNELS})',
    ),
    'faster_rcnn': (
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'atto', '(0, 1, 2, 3)',
        f'neck=dict(in_channels={CHANNELS})',
    ),
    'cascade_rcnn': (
        'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py', 'atto', '(0, 1, 2, 3)',
        f'neck=dict(in_channels={CHANNELS})',
    ),
    'rtmdet': (
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py', 'atto', '(1, 2, 3)',
        'neck=dict(in_channels=[80, 160, 320])',
    ),
    'dino': (
        'mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', 'atto', '(1, 2, 3)',
        'neck=dict(in_channels=[80, 160, 320])',
    ),
    'detr': (
        'mmdet::detr/detr_r50_8xb2-150e_coco.py', 'atto', '(3,)', 'neck=dict(in_channels=[320])',
    ),
    'classifier': (
        'mmpretrain::convnext/convnext-tiny_32xb128_in1k.py', 'atto', '-1',
        'head=dict(in_channels=320)',
    ),
}  # fmt: skip


def test_wheel_carries_configs_tools_and_index(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in (
        'selnext_mm/.mim/model-index.yml',
        'selnext_mm/.mim/configs/mask_rcnn/selnext_t_3x_coco.py',
        'selnext_mm/.mim/configs/_base_/models/mask_rcnn_selnext_fpn.py',
        'selnext_mm/.mim/configs/cls/metafile.yml',
        'selnext_mm/.mim/tools/train.py',
    ):
        assert name in names
    assert not any('__pycache__' in n or n.startswith('tests') for n in names)


def test_a_wheel_requires_nothing_that_would_replace_a_fork(wheel):
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [n for n in archive.namelist() if n.endswith('METADATA')]
    required = [
        line
        for line in archive.read(metadata).decode().splitlines()
        if line.startswith('Requires-Dist') and 'extra' not in line
    ]
    assert required
    assert not any(name in line for line in required for name in ('mm', 'torch', 'opencv'))


@pytest.fixture(scope='module')
def steps(site, tmp_path_factory):
    """Name -> the line of its step; one process, whose imports take longer than all the steps."""
    folder = tmp_path_factory.mktemp('projects')
    for name, (base, arch, out, rest) in PROJECTS.items():
        text = HEAD.format(base=base, arch=arch, out=out, rest=rest)
        (folder / f'{name}.py').write_text(text)
    script = Path(__file__).with_name('plugin_step.py')
    files = [f'{name}.py' for name in PROJECTS]
    result = call(sys.executable, '-W', 'ignore', script, *files, cwd=folder, env=site[0])
    assert result.returncode == 0, result.stderr[-3000:]
    lines = [line.split(' ', 1) for line in result.stdout.splitlines()]
    return {name.removesuffix('.py'): line for name, line in lines if name in files}


@pytest.mark.slow
def test_stock_configs_train_and_infer_with_our_backbone(steps):
    assert steps.keys() == PROJECTS.keys()
    for name, line in steps.items():
        assert re.match(r'\w+ SELNeXt [\d.]+ \[', line), (name, line)
        assert ('pred_label' if name == 'classifier' else 'pred_instances') in line


def test_configs_resolve_from_the_installed_wheel(site, tmp_path):
    (tmp_path / 'mine.py').write_text("_base_ = 'selnext_mm::mask_rcnn/selnext_t_3x_coco.py'\n")
    code = (
        'import selnext_mm; from mmengine.config import Config; '
        "cfg = Config.fromfile('mine.py'); "
        'from selnext_mm.config_files import config_root; '
        'print(selnext_mm.__file__, config_root(), cfg.model.backbone.type, '
        'cfg.train_cfg.max_epochs)'
    )
    result = call(sys.executable, '-W', 'ignore', '-c', code, cwd=tmp_path, env=site[0])
    assert result.returncode == 0, result.stderr[-2000:]
    file, root, kind, epochs = result.stdout.split()[-4:]
    assert file.startswith(str(site[1]))
    assert root.startswith(str(site[1]))
    assert (kind, epochs) == ('SELNeXt', '36')


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """The folder of an environment with the wheel and, by a .pth file, all packages of this one.

    pip installs without an index: what the wheel requires has to be there already.
    """
    folder = tmp_path_factory.mktemp('environment') / 'venv'
    # pip here and not in it, which saves its installation.
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', folder], check=True)
    python = folder / 'bin' / 'python'
    (site,) = folder.glob('lib/python*/site-packages')
    places = [p for p in sys.path if p.endswith(('site-packages', 'dist-packages'))]
    (site / 'others.pth').write_text('\n'.join(places) + '\n')
    pip = (sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-index')
    # A checkout that is installed here has the same version, and would do for pip.
    for arguments in (('--no-deps', '--force-reinstall', wheel), (wheel,)):
        result = call(*pip, *arguments, cwd=folder, env=dict(PYTHONPATH=''))
        assert result.returncode == 0, result.stderr[-2000:]
    return folder


def test_the_installed_command_runs_from_another_folder(installed, tmp_path):
    def run(name, *arguments):
        result = call(installed / 'bin' / name, *arguments, cwd=tmp_path, env=dict(PYTHONPATH=''))
        assert result.returncode == 0, result.stderr[-2000:]
        return result.stdout

    assert '  check-data  ' in run('selnext-mm', '--help')
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'selnext_mm::cls/cifar10/selnext_atto_cifar10.py'\n"
    )
    rows = run('selnext-mm', 'complexity', 'mine.py', 'cls/cifar10/selnext_atto_cifar10.py')
    (mine, packaged) = (line.split()[1:] for line in rows.splitlines() if '.py' in line)
    assert mine == packaged
    code = 'import selnext_mm.config_files as c; print(c.__file__, c.config_root())'
    for path in run('python', '-W', 'ignore', '-c', code).split()[-2:]:
        assert path.startswith(str(installed))


def test_pip_asks_for_what_the_wheel_requires(wheel, tmp_path):
    """The same in an empty environment, where it cannot be had."""
    subprocess.run([sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'v'], check=True)
    result = call(
        *(sys.executable, '-m', 'pip', '--python', tmp_path / 'v' / 'bin' / 'python'),
        *('install', '--no-index', wheel),
        cwd=tmp_path,
        env=dict(PYTHONPATH=''),
    )
    assert result.returncode != 0
    required = (ROOT / 'requirements' / 'runtime.txt').read_text()
    named = re.search(r'No matching distribution found for (\w+)', result.stderr)
    assert named, result.stderr[-2000:]
    assert re.search(rf'^{named[1]}\b', required, re.M)


def normal(name):
    return re.sub(r'[-_.]+', '-', name).lower()


def locked():
    """Names that requirements/lock.txt pins for this Python, and those that it leaves to others."""
    pinned, names = set(), ('lock.txt', 'dev.txt', 'openmmlab.txt')
    for name in names:
        for line in (ROOT / 'requirements' / name).read_text().splitlines():
            if line and not line.startswith(('#', '-')):
                requirement = Requirement(line)
                if requirement.marker is None or requirement.marker.evaluate():
                    pinned.add(normal(requirement.name))
    return pinned


def test_the_lock_pins_what_its_packages_require():
    """Otherwise two set-ups of the same commit differ."""
    pinned = locked()
    assert len(pinned) > 100
    # Taken together with torch, or in the place of opencv-python (see the file's head).
    others = {'torch', 'torchvision', 'sympy', 'mpmath', 'triton', 'opencv-python'}
    missing, seen = {}, 0
    for name in pinned:
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        seen += 1
        # mmdet and mmpretrain are installed without what they require.
        for requirement in map(Requirement, [] if name.startswith('mm') else required):
            needed = not requirement.marker or requirement.marker.evaluate(dict(extra=''))
            if needed and normal(requirement.name) not in pinned | others:
                missing[normal(requirement.name)] = name
    assert seen > 80
    assert missing == {}


def stock_tool(package, name):
    code = f'import {package}, os; print(os.path.dirname({package}.__file__))'
    folder = call(sys.executable, '-W', 'ignore', '-c', code, cwd='/').stdout.split()[-1]
    return Path(folder, '.mim', 'tools', name)


def test_mmdets_own_tools_train_and_test_our_config(shapes_root, tmp_path):
    """The stock scripts know neither --data-root nor our runner."""
    (tmp_path / 'data').mkdir()
    os.symlink(shapes_root, tmp_path / 'data' / 'shapes')
    options = [
        'train_cfg.max_epochs=1', 'train_cfg.val_interval=1', 'train_dataloader.batch_size=4',
        'param_scheduler.1.end=1',
    ]  # fmt: skip
    for loader in ('train', 'val', 'test'):
        options += [
            f'{loader}_dataloader.num_workers=0',
            f'{loader}_dataloader.persistent_workers=False',
        ]
    train = call(
        *(sys.executable, stock_tool('mmdet', 'train.py'), CONFIG, '--work-dir', 'work'),
        *('--cfg-options', *options),
        cwd=tmp_path,
    )
    assert train.returncode == 0, train.stderr[-3000:]
    test = call(
        *(sys.executable, stock_tool('mmdet', 'test.py'), CONFIG, 'work/epoch_1.pth'),
        *('--cfg-options', *options),
        cwd=tmp_path,
    )
    assert test.returncode == 0, test.stderr[-3000:]
    assert 'coco/segm_mAP' in test.stdout + test.stderr


@pytest.mark.slow
def test_mmdets_inferencer_works_from_another_folder(trained, shapes_root, tmp_path):
    image = next((shapes_root / 'val2017').glob('*.jpg'))
    code = f"""
from mmdet.apis import DetInferencer
detector = DetInferencer({str(CONFIG)!r}, {str(trained[0] / 'epoch_2.pth')!r}, device='cpu')
result = detector({str(image)!r}, no_save_vis=True, return_datasamples=True)
print(len(result['predictions']), detector.visualizer.dataset_meta['classes'][2])
"""
    result = call(sys.executable, '-W', 'ignore', '-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert '1 triangle' in result.stdout


def test_mmpretrains_inferencer_works_from_another_folder(shapes_root, tmp_path):
    image = next((shapes_root / 'val2017').glob('*.jpg'))
    code = f"""
from mmengine.config import Config
from mmpretrain.apis import ImageClassificationInferencer
cfg = Config.fromfile({str(ROOT / 'configs/cls/selnext_t_in1k.py')!r})
cfg.model.backbone.arch, cfg.model.head.in_channels = 'atto', 320
classifier = ImageClassificationInferencer(cfg, device='cpu')
print(classifier({str(image)!r})[0]['pred_scores'].shape)
"""
    result = call(sys.executable, '-W', 'ignore', '-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    assert '(1000,)' in result.stdout
