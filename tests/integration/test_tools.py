"""tools/train.py and tools/test.py on a tiny model and real files."""

import json
import re
import sys

import pytest
import torch

from selnext_mm.checkpoints.files import load_file
from selnext_mm.checkpoints.fit import stored_classes
from selnext_mm.datasets.shapes import CLASSES
from tests.integration.conftest import CONFIG, ROOT, SMALL, call

pytestmark = pytest.mark.integration
TRAIN = (sys.executable, ROOT / 'tools' / 'train.py')
TEST = (sys.executable, ROOT / 'tools' / 'test.py')


def checkpoint(trained):
    return trained[0] / 'epoch_2.pth'


def test_training_writes_a_checkpoint_and_its_config(trained):
    work, result = trained
    assert checkpoint(trained).is_file()
    assert (work / 'selnext_atto_shapes.py').is_file()
    assert 'coco/bbox_mAP' in result.stdout + result.stderr


def test_the_class_names_stay_with_the_weights(trained):
    assert stored_classes(load_file(checkpoint(trained))) == CLASSES


def test_the_data_is_looked_at_before_the_run(trained):
    text = trained[1].stdout + trained[1].stderr
    assert re.search(r'train_dataloader: 16 images, \d+ of \d+ annotations used', text)


def test_the_first_loss_is_within_60_lines(trained):
    work, result = trained
    (log,) = work.glob('*/*.log')
    for text in (result.stdout + result.stderr, log.read_text()):
        lines = text.splitlines()
        first = next(i for i, line in enumerate(lines) if 'Epoch(train)' in line)
        assert first < 60, '\n'.join(lines[:first])


def test_the_banner_says_in_15_lines_what_is_about_to_happen(trained):
    work, result = trained
    lines = (result.stdout + result.stderr).splitlines()
    start = next(i for i, line in enumerate(lines) if line.endswith(': selnext_atto_shapes'))
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith('  '))
    banner = lines[start:end]
    assert len(banner) <= 15
    facts = dict(line.split(None, 1) for line in banner[1:] if line[2] != ' ')
    assert facts['model'] == 'MaskRCNN, backbone SELNeXt (arch atto), neck FPN'
    assert facts['parameters'] == '5.33 M, all trained'
    assert 'AdamW lr 0.001' in facts['schedule']
    assert facts['batch'] == '2 images x 1 process = 2'
    assert '16 images for training, 8 for validation' in ' '.join(banner)
    assert facts['data'].endswith(', 6 classes')
    assert facts['files'].startswith(str(work))
    assert {'start', 'device', 'software'} < set(facts)


def test_one_switch_writes_the_scalars_for_tensorboard(trained):
    pytest.importorskip('tensorboard', reason='pip install tensorboard to run this')
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = trained[0].glob('*/vis_data')
    events = EventAccumulator(str(folder)).Reload()
    assert {'loss', 'loss_mask', 'lr', 'coco/bbox_mAP'} <= set(events.Tags()['scalars'])
    rows = [json.loads(line) for line in (folder / 'scalars.json').read_text().splitlines()]
    losses = [row['loss'] for row in rows if 'loss' in row]
    assert [e.value for e in events.Scalars('loss')] == pytest.approx(losses)


def test_ap_of_each_class_is_among_the_scalars(trained):
    (file,) = trained[0].glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    (row,) = [row for row in rows if 'coco/bbox_mAP' in row]
    assert sum(key.endswith('_precision') for key in row) == 6


def test_what_a_cpu_changes_is_said_once(trained):
    text = trained[1].stdout + trained[1].stderr
    assert text.count('mixed precision becomes float32') == 1


def test_resume_goes_on_after_the_last_epoch(trained, shapes_root, tmp_path):
    work = tmp_path / 'work'
    first = call(
        *(*TRAIN, CONFIG, '--work-dir', work, '--data-root', shapes_root, '--cfg-options'),
        *(*SMALL, 'train_cfg.max_epochs=1', 'train_cfg.val_interval=9'),
        cwd=tmp_path,
    )
    assert first.returncode == 0, first.stderr[-2000:]
    second = call(
        *(*TRAIN, CONFIG, '--work-dir', work, '--data-root', shapes_root, '--resume'),
        *('--cfg-options', *SMALL),
        cwd=tmp_path,
    )
    assert second.returncode == 0, second.stderr[-2000:]
    text = second.stdout + second.stderr
    assert re.search(r'Epoch\(train\)\s+\[2\]', text)
    assert not re.search(r'Epoch\(train\)\s+\[1\]', text)
    meta = torch.load(work / 'epoch_2.pth', weights_only=True)['meta']
    assert (meta['epoch'], meta['iter']) == (2, 16)


def test_test_prints_the_coco_table_and_writes_results(trained, shapes_root, tmp_path):
    out = tmp_path / 'out' / 'results.json'
    result = call(
        *(*TEST, CONFIG, checkpoint(trained), '--data-root', shapes_root),
        *('--out', out, '--classwise', '--show-dir', tmp_path / 'show'),
        *('--cfg-options', 'test_dataloader.num_workers=0'),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    text = result.stdout + result.stderr
    assert 'Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all' in text
    assert '| triangle' in text
    metrics = json.loads(out.read_text())['metrics']
    assert 0 <= metrics['coco/segm_mAP'] <= 1
    for kind in ('bbox', 'segm'):
        assert isinstance(json.loads((tmp_path / f'out/results.{kind}.json').read_text()), list)
    assert len(list((tmp_path / 'show').rglob('*.jpg'))) == 8
    # The default work dir keeps the folder of the config.
    assert (tmp_path / 'work_dirs' / 'mask_rcnn' / 'selnext_atto_shapes').is_dir()


def test_test_dumps_as_the_stock_tools_do(trained, shapes_root, tmp_path):
    result = call(
        *(*TEST, CONFIG, checkpoint(trained), '--data-root', shapes_root),
        *('--out', 'all.pkl', '--cfg-options', 'test_dataloader.num_workers=0'),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / 'all.pkl').stat().st_size > 1000


def test_a_classifier_goes_through_the_same_tools(tmp_path):
    """ImageNet's folder layout with two classes of two real images each."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(0)
    for split in ('train', 'val'):
        for name in ('a', 'b'):
            folder = tmp_path / 'data' / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                image = generator.integers(0, 255, (40, 40, 3), dtype=np.uint8)
                cv2.imwrite(str(folder / f'{i}.jpg'), image)
    options = [
        'model.backbone.arch=atto',
        'model.head.in_channels=320',
        'model.head.num_classes=2',
        'data_preprocessor.num_classes=2',
        'val_evaluator.topk=1',
        'test_evaluator.topk=1',
        'train_dataloader.batch_size=2',
        'train_cfg.max_epochs=1',
        'train_dataloader.num_workers=0',
        'val_dataloader.num_workers=0',
        'test_dataloader.num_workers=0',
    ]
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options.append(f'{loader}.persistent_workers=False')
        options.append(f'{loader}.dataset.metainfo.classes=a,b')
    train = call(
        *(*TRAIN, 'cls/selnext_t_in1k.py', '--data-root', 'data', '--work-dir', 'work'),
        *('--cfg-options', *options),
        cwd=tmp_path,
    )
    assert train.returncode == 0, train.stdout[-1000:] + train.stderr[-3000:]
    test = call(
        *(*TEST, 'cls/selnext_t_in1k.py', 'work/epoch_1.pth', '--data-root', 'data'),
        *('--cfg-options', *options),
        cwd=tmp_path,
    )
    assert test.returncode == 0, test.stderr[-2000:]
    assert 'accuracy/top1' in test.stdout + test.stderr


# arguments (DATA and CKPT stand for real ones), and what the message has to contain; many more,
# without a process for each, are in tests/messages/test_bad_input.py
ERRORS = {
    'missing data': (TRAIN, [CONFIG], 'data/shapes', '--data-root'),
    'broken config': (TRAIN, ['broken.py'], 'cannot read the config', 'SyntaxError'),
    'text as checkpoint': (TEST, [CONFIG, 'text.pth', 'DATA'], 'text.pth', 'not a checkpoint'),
    'other model': (
        TEST,
        ['mask_rcnn/selnext_t_1x_coco.py', 'CKPT', 'DATA'],
        'not a checkpoint of this model',
        'Use the config that',
    ),
}


@pytest.mark.parametrize('case', sorted(ERRORS))
def test_a_users_mistake_ends_with_one_message(case, trained, shapes_root, tmp_path):
    tool, arguments, *texts = ERRORS[case]
    (tmp_path / 'broken.py').write_text('model = dict(\n')
    (tmp_path / 'text.pth').write_text('this is no checkpoint\n')
    before = sorted(p.name for p in tmp_path.iterdir())
    replaced = []
    for argument in arguments:
        if argument == 'DATA':
            replaced += ['--data-root', shapes_root]
        else:
            replaced.append(checkpoint(trained) if argument == 'CKPT' else argument)
    result = call(*tool, *replaced, cwd=tmp_path)
    assert result.returncode == 2, result.stderr[-2000:]
    errors = [line for line in result.stderr.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1, result.stderr
    assert 'Traceback' not in result.stderr
    for text in texts:
        assert text in errors[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == before, 'something was half-written'


def test_debug_shows_the_traceback(tmp_path):
    result = call(*TRAIN, CONFIG, '--data-root', 'nowhere', '--debug', cwd=tmp_path)
    assert result.returncode == 2
    assert 'Traceback' in result.stderr


PIPELINE = 'train_dataloader.dataset.pipeline'
MULTI_SCALE = [
    f'{PIPELINE}.3.transforms.{i}.scales=[(400,240)]' for i in ('0.0', '1.2')
]  # of the 3x recipes
ONE_SCALE = [f'{PIPELINE}.2.scale=(400,240)']
SMALL_SELNEXT = ['model.backbone.arch=atto', 'model.neck.in_channels=[40,80,160,320]']
SMALL_NA = ['model.backbone.depth=18', 'model.neck.in_channels=[64,128,256,512]']
SMALL_PATNET = ['model.backbone.arch=t0', 'model.neck.in_channels=[32,64,128,256]']
# 512 regions an image through a cascade's three heads are minutes on one core.
FEW_REGIONS = ['model.train_cfg.rcnn.sampler.num=32', 'model.test_cfg.rpn.max_per_img=50']
FEW_REGIONS_CASCADE = [
    *(f'model.train_cfg.rcnn.{i}.sampler.num=32' for i in range(3)),
    'model.test_cfg.rpn.max_per_img=50',
]
# An untrained RetinaNet is sure of nothing.
ANY_SCORE = ['model.test_cfg.score_thr=0.0']
# config -> (smaller backbone and images, tables that COCO's evaluation prints)
RECIPES = {
    'mask_rcnn/selnext_t_3x_coco.py': (SMALL_SELNEXT + MULTI_SCALE + FEW_REGIONS, 2),
    'cascade_mask_rcnn/selnext_t_3x_coco.py': (
        SMALL_SELNEXT + MULTI_SCALE + FEW_REGIONS_CASCADE,
        2,
    ),
    'mask_rcnn/patnet_s_1x_coco.py': (SMALL_PATNET + ONE_SCALE + FEW_REGIONS, 2),
    'retinanet/na_r50_2x_coco.py': (SMALL_NA + ONE_SCALE + ANY_SCORE, 1),
    'cascade_rcnn/na_r50_2x_coco.py': (SMALL_NA + ONE_SCALE + FEW_REGIONS_CASCADE, 1),
}


@pytest.mark.realdata
@pytest.mark.parametrize('config', sorted(RECIPES))
def test_coco_recipes_train_resume_and_test_on_real_images(config, coco_root, tmp_path):
    """The recipes with a smaller backbone and images: real images and annotations."""
    changes, tables = RECIPES[config]
    options = [*changes, 'train_dataloader.dataset.indices=4', 'train_cfg.val_interval=9']
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        options.append(f'{loader}.num_workers=0')
        options.append(f'{loader}.persistent_workers=False')
    for loader in ('val_dataloader', 'test_dataloader'):
        options += [f'{loader}.dataset.indices=3', f'{loader}.dataset.pipeline.1.scale=(400,240)']
    where = ('--data-root', coco_root, '--work-dir', 'work')

    def run(tool, *arguments):
        done = call(*tool, config, *arguments, cwd=tmp_path)
        text = done.stdout + done.stderr
        assert done.returncode == 0, text[-3000:]
        return text

    run(TRAIN, *where, '--cfg-options', *options, 'train_cfg.max_epochs=1')
    text = run(TRAIN, *where, '--resume', '--cfg-options', *options, 'train_cfg.max_epochs=2')
    assert re.search(r'Epoch\(train\)\s+\[2\]', text)
    assert not re.search(r'Epoch\(train\)\s+\[1\]', text)
    text = run(TEST, 'work/epoch_2.pth', *where, '--cfg-options', *options)
    assert text.count('Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all') == tables
    assert ('coco/segm_mAP' in text) == (tables == 2)
