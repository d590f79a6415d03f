"""tools/train.py and tools/test.py on a tiny model and real files."""

import json
import re
import sys

import pytest
import torch

from selnext_mm.checkpoints.compare import stored_classes
from selnext_mm.checkpoints.files import load_file
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
    """ImageNet's folder layout with two classes of two real pictures each."""
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


OPTION = 'param_scheduler.9.end=1'
# arguments (DATA and CKPT stand for real ones), and what the message has to contain
ERRORS = {
    'missing data': (TRAIN, [CONFIG], 'data/shapes', '--data-root'),
    'wrong data root': (TRAIN, [CONFIG, '--data-root', 'nowhere'], 'nowhere', 'annotations/'),
    'no such config': (TRAIN, ['configs/mask_rcnn/selnext_t_3x.py'], 'did you mean', 'selnext_t'),
    'broken config': (TRAIN, ['broken.py'], 'cannot read the config', 'SyntaxError'),
    'nothing to resume': (TRAIN, [CONFIG, 'DATA', '--resume'], 'no checkpoint in', '--work-dir'),
    'resume from no file': (TRAIN, [CONFIG, 'DATA', '--resume', 'x.pth'], 'x.pth', 'no such file'),
    'no checkpoint': (TEST, [CONFIG, 'x.pth', 'DATA'], 'x.pth', 'no such file'),
    'text as checkpoint': (TEST, [CONFIG, 'text.pth', 'DATA'], 'text.pth', 'not a checkpoint'),
    'out suffix': (TEST, [CONFIG, 'CKPT', 'DATA', '--out', 'a.txt'], 'a.txt', '.json or .pkl'),
    'bad option': (TRAIN, [CONFIG, 'DATA', '--cfg-options', OPTION], '--cfg-options', '9'),
    'other model': (
        TEST,
        ['mask_rcnn/selnext_t_1x_coco.py', 'CKPT', 'DATA'],
        'not a checkpoint of this model',
        'Use the config that',
    ),
    'pretrained missing': (
        TRAIN,
        [CONFIG, 'DATA', '--cfg-options', 'pretrained=p.pth'],
        'p.pth',
        'no such file',
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


@pytest.mark.realdata
@pytest.mark.parametrize('folder', ['mask_rcnn', 'cascade_mask_rcnn'])
def test_coco_recipes_train_resume_and_test_on_real_images(folder, coco_root, tmp_path):
    """The 3x recipe with a smaller backbone and pictures: real images and annotations."""
    config = f'{folder}/selnext_t_3x_coco.py'
    pipeline = 'train_dataloader.dataset.pipeline'
    options = [
        'model.backbone.arch=atto',
        'model.neck.in_channels=[40,80,160,320]',
        'train_dataloader.dataset.indices=4',
        f'{pipeline}.3.transforms.0.0.scales=[(400,240)]',
        f'{pipeline}.3.transforms.1.2.scales=[(400,240)]',
        'train_cfg.val_interval=9',
        'model.test_cfg.rpn.max_per_img=50',
    ]
    # 512 regions a picture through the cascade's four convolutions are minutes on one core.
    stages = ['rcnn'] if folder == 'mask_rcnn' else ['rcnn.0', 'rcnn.1', 'rcnn.2']
    options += [f'model.train_cfg.{stage}.sampler.num=32' for stage in stages]
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
    assert text.count('Average Precision  (AP) @[ IoU=0.50:0.95 | area=   all') == 2
    assert 'coco/segm_mAP' in text
