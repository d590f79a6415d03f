"""From labels to a tested model and a report, in one call; and what it leaves runs by itself."""

import json
import os
import re

import numpy as np
import pytest
import torch

import selnext_mm
from selnext_mm.__main__ import main
from selnext_mm.errors import UserError
from selnext_mm.evaluation.class_predictions import read_class_results
from selnext_mm.recipes.run import best_checkpoint
from tests.datasets.formats.writers import SMALL, write_voc


@pytest.fixture
def labels(tmp_path, monkeypatch):
    pytest.importorskip('mmdet', reason='needs mmdet')
    monkeypatch.chdir(tmp_path)
    return write_voc(SMALL, tmp_path / 'boxes')


QUICK = ['--epochs', '1', '--image-size', '64', '--workers', '0', '--batch-size', '2']


@pytest.mark.integration
def test_labels_to_predictions_and_on_from_there(labels, capsys, tmp_path):
    said = []
    options = dict(epochs=1, image_size=64, workers=0, batch_size=2, show_predictions=1)
    result = selnext_mm.train(labels, 'selnext_atto', **options, say=said.append)
    work = tmp_path / 'work_dirs' / 'boxes_selnext_atto'
    assert result.work_dir == work
    assert set(result.metrics) >= {'coco/bbox_mAP', 'coco/bbox_mAP_50'}
    # The bug: these were named as the predictions, and are the metrics.
    assert json.loads(result.metrics_file.read_text())['metrics'] == result.metrics
    assert result.predictions == (work / 'results.bbox.json',)
    assert json.loads(result.predictions[0].read_text())[0].keys() >= {'bbox', 'score'}
    assert result.config == work / 'config.py'
    assert result.report is None or result.report.is_file()
    scalars = [p.read_text() for p in work.glob('*/vis_data/scalars.json')]
    assert any('"coco/cat_precision"' in text for text in scalars), 'AP of each class'
    (drawn,) = work.glob('*/vis_data/vis_image/*')
    assert re.fullmatch(r'prediction_0_\w+_1\.png', drawn.name)
    stored = torch.load(result.checkpoint, weights_only=True)
    assert stored['meta']['dataset_meta']['classes'] == ('ape', 'cat', 'dog')
    assert any('from-scratch recipe' in line for line in said)
    capsys.readouterr()
    # The test at the end has left it as the training wrote it.
    config = result.config.read_text()
    assert config.startswith('# Written by: selnext_mm.train\n# ')
    assert all(
        f'\n# {" ".join(line.split())}\n' in config for line in said if 'from-scratch' in line
    )
    assert '.results' not in config
    assert 'load_from = None' in config

    # The config stands by itself, wherever it lies.
    moved = tmp_path / 'elsewhere.py'
    moved.write_bytes(result.config.read_bytes())
    again = selnext_mm.Session(moved, work_dir=tmp_path / 'again').test(result.checkpoint)
    assert again == result.metrics

    # The same command with more epochs goes on where it stopped.
    more = ['--data', str(labels), 'selnext_atto', *QUICK, '--epochs', '2', '--resume']
    assert main(['train', *more]) == 0
    text = capsys.readouterr().out
    assert (work / 'epoch_2.pth').is_file()
    assert f'selnext-mm predict {work}/config.py {work}/best_' in text
    assert 'box AP' in text
    assert (
        f'  predictions   {work}/results.bbox.json\n  metrics       {work}/results.json\n' in text
    )
    form = f'--data {labels} selnext_atto --image-size 64 --batch-size 2 --workers 0'
    assert f'selnext-mm train {form} --weights {work}/best_' in text

    # The bug: the same command without --resume took the folder, and the finished run was no more
    # gone on from.
    before = {p: p.read_bytes() for p in work.rglob('*') if p.is_file()}
    words = ['train', '--data', str(labels), 'selnext_atto', *QUICK, '--out', str(work)]
    assert main(words) == 2
    last = f'{work} holds a run, whose last checkpoint is epoch_2.pth; --resume goes on from it'
    assert last in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in work.rglob('*') if p.is_file()}
    # Nor does a mistake that is found late leave a config.
    for option in (['--resume'], ['--weights', str(result.checkpoint)]):
        words = ['train', '--data', str(labels), 'selnext_pico', *QUICK, '--out', 'wrong', *option]
        assert main(words) == 2
        assert not (tmp_path / 'wrong').exists()
    assert 'of another shape: backbone.' in capsys.readouterr().err


@pytest.mark.integration
def test_class_folders_to_a_classifier(folders, tmp_path, monkeypatch):
    pytest.importorskip('mmpretrain', reason='needs mmpretrain')
    monkeypatch.chdir(tmp_path)
    result = selnext_mm.train(
        folders.root,
        'selnext_atto',
        **dict(epochs=1, image_size=32, workers=0, show_predictions=2),
        say=lambda line: None,
    )
    drawn = sorted(p.name for p in result.work_dir.glob('*/vis_data/vis_image/*'))
    assert [name.split('_')[1] for name in drawn] == ['0', '1']
    assert result.checkpoint.name.startswith('best_accuracy_top1')
    assert 0 <= result.metrics['accuracy/top1'] <= 100
    said = read_class_results(result.work_dir / 'results.classes.json')
    assert 100 * said.right.mean() == pytest.approx(result.metrics['accuracy/top1'])
    assert result.predictions == (result.work_dir / 'results.classes.json',)
    written = json.loads(result.metrics_file.read_text())
    assert written['results'] == {'classes': 'results.classes.json'}
    assert result.report is None or 'id="classification"' in result.report.read_text()
    # The bug: the test at the end wrote its own config over this one, with the paths of its files
    # and the best checkpoint to start from.
    config = result.config.read_text()
    assert 'ClassPredictions' not in config
    assert 'load_from = None' in config
    out = tmp_path / 'elsewhere' / 'again.json'
    selnext_mm.Session(result.config).test(result.checkpoint, out=out)
    assert result.config.read_text() == config
    assert sorted(p.name for p in out.parent.iterdir()) == ['again.classes.json', 'again.json']


def test_the_best_checkpoint_is_the_newest_of_the_best(tmp_path):
    with pytest.raises(UserError, match='holds no checkpoint'):
        best_checkpoint(tmp_path)
    for i, name in enumerate(('best_x_epoch_3.pth', 'best_x_epoch_12.pth')):
        (tmp_path / name).write_bytes(b'')
        os.utime(tmp_path / name, (i, i))
    assert best_checkpoint(tmp_path).name == 'best_x_epoch_12.pth'


def test_an_option_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="no option 'epoch'; did you mean epochs"):
        selnext_mm.train(tmp_path, epoch=3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(epochs='1'), "epochs='1'; expected a whole number or None"),
        (dict(epochs=1.0), 'epochs=1.0; expected a whole number'),
        (dict(batch_size=True), 'batch_size=True; expected a whole number'),
        (dict(image_size='64'), "image_size='64'; expected a whole number"),
        (dict(lr='1e-3'), "lr='1e-3'; expected a number or None"),
        (dict(seed=None), 'seed=None; expected a whole number'),
        (dict(mix='yes'), "mix='yes'; expected True or False"),
        (dict(weights=3), 'weights=3; expected a string'),
        (dict(model=3), 'model=3; expected a string or None'),
        (dict(model=['selnext_t']), r"model=\['selnext_t'\]; expected a string"),
        (dict(out=3), 'out=3; expected a string or a path or None'),
        (dict(val=True), 'val=True; expected a number or a string or a path or None'),
        (dict(format=1), 'format=1; expected a string'),
        (dict(resume='yes'), "resume='yes'; expected True or False"),
        (dict(amp=1), 'amp=1; expected True or False'),
        (dict(loggers='tensorboard'), "loggers='tensorboard'; expected a list of strings"),
        (dict(loggers=[1]), r'loggers=\[1\]; expected a list of strings'),
        (dict(show_predictions='8'), "show_predictions='8'; expected a whole number"),
        (dict(say='no'), "say='no'; expected a function"),
        (dict(clip_grad=float('nan')), '--clip-grad nan; expected 0 or more'),
        (dict(drop_path=float('nan')), '--drop-path nan; expected 0 or more'),
    ],
)
def test_an_argument_of_the_wrong_kind(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        selnext_mm.train(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_numbers_of_numpy_and_paths_are_taken(tmp_path):
    with pytest.raises(UserError, match='no such file or folder'):
        selnext_mm.train(tmp_path / 'none', epochs=np.int64(1), lr=np.float32(0.1))
    with pytest.raises(UserError, match=r'--weights .*w\.pth: no such file'):
        selnext_mm.train(tmp_path, weights=tmp_path / 'w.pth')


def test_the_folder_of_the_labels_takes_no_run(labels, tmp_path, monkeypatch):
    before = sorted(labels.rglob('*'))
    monkeypatch.chdir(labels)
    for out in (labels, '.', f'{labels}/'):
        with pytest.raises(UserError, match=r'is the folder of the labels.*name another'):
            selnext_mm.train(labels, 'selnext_atto', out=out, epochs=1)
    assert sorted(labels.rglob('*')) == before
