"""The comparison from the command line, on real images where there are some."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from selnext_mm.cli.compare import main
from selnext_mm.errors import UserError

CONFIG = 'cls/cifar10/mobilenet_v3_l_none_cifar10.py'
CLASSES = (
    *('airplane', 'automobile', 'bird', 'cat', 'deer'),
    *('dog', 'frog', 'horse', 'ship', 'truck'),
)


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    """Images of one brightness per class: easy, and quick to draw."""
    root = tmp_path_factory.mktemp('pictures')
    random = np.random.default_rng(0)
    for split, count in (('train', 7), ('test', 2)):
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                noise = random.integers(0, 20, (32, 32, 3))
                Image.fromarray((noise + 23 * label).astype('uint8')).save(folder / f'{i}.png')
    return root


def compare(capsys, *argv):
    assert main([str(a) for a in argv]) == 0
    return capsys.readouterr().out


def test_runs_are_made_once_and_tabled(drawn, tmp_path, capsys):
    out = tmp_path / 'out'
    options = (CONFIG, '--data-root', drawn, '--out', out, '--train-images', 0, '--val-images', 10)
    options += ('--epochs', 20, '--size', 32, '--workers', 0, '--seeds')
    text = compare(capsys, *options, 1)
    assert 'REDUCED comparison' in text
    assert '70 of 70 training images, 20 of 100 epochs, 10 of 20 test images' in text
    assert '[1/1] mobilenet_v3_l_none_cifar10 seed 1' in text
    folder = out / 'runs' / 'mobilenet_v3_l_none_cifar10_seed1'
    assert sorted(p.name for p in folder.glob('*.pth')) == ['weights.pth']
    before = json.loads((folder / 'result.json').read_text())
    assert 0 <= before['top1'] <= 100
    assert 0 < before['distance']['expansion']['mean'] < 1
    assert before['distance']['expansion']['blocks'].keys() > {'stages.0.1'}
    assert before['epochs'] == 20

    # The second seed is new, the first one is not made again.
    text = compare(capsys, *options, 1, 2)
    assert '2 runs, 1 already finished' in text
    text = compare(capsys, *options, 1, 2, 3, '--table-only')
    assert '| 1 2 (not run: 3) |' in text
    assert not list(out.glob('runs/*seed3'))
    text = compare(capsys, *options, 1, 2)
    assert '2 runs, 2 already finished' in text
    assert '| mobilenet_v3_l_none_cifar10 |' in text
    assert json.loads((folder / 'result.json').read_text()) == before
    table = json.loads((out / 'comparison.json').read_text())
    assert table['rows'][0]['seeds'] == [1, 2]
    assert table['rows'][0]['missing'] == []
    values = [run['top1'] for run in table['runs']]
    assert table['rows'][0]['top1'] == pytest.approx(sum(values) / 2)


def test_an_interrupted_set_goes_on_within_the_run(drawn, tmp_path, capsys, monkeypatch):
    from selnext_mm.analysis.comparison.runs import QuietRunner

    options = (CONFIG, '--data-root', drawn, '--out', tmp_path, '--train-images', 0)
    options += ('--val-images', 0, '--epochs', 20, '--size', 32, '--seeds', 0)
    save, seen = QuietRunner.save_checkpoint, []

    def interrupt(self, *args, **kwargs):
        save(self, *args, **kwargs)
        seen.append(self.epoch)
        if len(seen) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(QuietRunner, 'save_checkpoint', interrupt)
    with pytest.raises(KeyboardInterrupt):
        main([str(o) for o in options])
    # What is finished is tabled even then.
    assert 'not run' in (tmp_path / 'comparison.md').read_text()
    text = compare(capsys, *options)
    assert '1 run, 0 already finished' in text
    run = json.loads(next(tmp_path.glob('runs/*/result.json')).read_text())
    assert run['resumed'] is True
    assert len(seen) in (20, 21)  # the epoch of the interruption may be made again, no more


def test_the_quick_recipe_by_two_processes(drawn, tmp_path, capsys):
    options = (CONFIG, '--data-root', drawn, '--out', tmp_path / 'out', '--recipe', 'quick')
    options += ('--batch-size', 10, '--train-images', 0, '--val-images', 0, '--epochs', 3)
    text = compare(capsys, *options, '--size', 32, '--seeds', 0, 1, '--parallel', 2)
    assert '3 of 20 epochs, 20 of 20 test images, input 32 (the recipe: 64) pixels' in text
    assert 'quick recipe in batches of 10' in text
    (row,) = json.loads((tmp_path / 'out' / 'comparison.json').read_text())['rows']
    assert row['seeds'] == [0, 1]
    assert row['distance_block'] > 0
    with pytest.raises(UserError, match=r'contains runs with quick_batch_size 10 \(now 7\)'):
        compare(capsys, *options, '--size', 32, '--seeds', 0, '--batch-size', 7)


@pytest.mark.realdata
def test_real_pictures_from_the_archive_or_folder(tmp_path, capsys):
    """Forty steps on real images: better than chance, with a distance for every model."""
    source = os.environ.get('SELNEXT_MM_CIFAR10')
    if not source:
        pytest.skip('set SELNEXT_MM_CIFAR10 to CIFAR-10 as folders, or a tar archive of them')
    configs = [f'cls/cifar10/{x}_cifar10.py' for x in ('selnext_atto', 'na_resnet18')]
    options = ('--train-images', 640, '--val-images', 200, '--epochs', 4, '--size', 32)
    out = tmp_path / 'out'
    compare(capsys, *configs, '--data-root', source, '--out', out, '--seeds', 0, *options)
    assert Path(source).is_dir() or len(list(tmp_path.glob('*_unpacked/train/*/*.jpg'))) == 50_000
    selnext, resnet = json.loads((out / 'comparison.json').read_text())['rows']
    assert max(selnext['top1'], resnet['top1']) > 14  # 200 images at chance: 10 +- 2.1
    assert selnext['distance_expansion'] > 0.1
    assert resnet['distance_expansion'] is None
    assert resnet['distance_block'] > 0.05


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (('cls/cifar10/selnext_tiny_cifar10.py',), 'there is no .* did you mean cls/cifar10'),
        (('cls/selnext_t_in1k.py',), 'cannot be compared: it lacks a CustomDataset'),
        ((CONFIG, CONFIG), 'is named twice'),
        ((CONFIG, '--seeds', '1', '1'), 'expected different numbers'),
        ((CONFIG, '--epochs', '-1'), 'expected 0 or more'),
        ((CONFIG, '--size', '16'), 'the backbones need 32 or more'),
        ((CONFIG, '--batch-size', '64'), '--batch-size 64 needs --recipe quick'),
        ((CONFIG, '--parallel', '0'), '--parallel 0; expected 1 or more'),
        ((CONFIG, '--train-images', '11'), 'a multiple of 10'),
        ((CONFIG, '--data-root', 'nowhere'), 'nowhere: no such folder'),
        ((CONFIG, '--data-root', __file__), 'expected a folder or one of .tar'),
    ],
)
def test_mistakes_are_told_before_anything_is_written(options, message, drawn, tmp_path):
    out = tmp_path / 'out'
    with pytest.raises(UserError, match=message):
        main(['--data-root', str(drawn), '--out', str(out), *options])
    assert not out.exists()
