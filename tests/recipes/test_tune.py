"""Trials on real labels: what is sampled, stopped early, kept, resumed and refused."""

import json
import socket
import subprocess
import sys

import pytest

from selnext_mm.__main__ import main
from selnext_mm.cli.tune import command, parse_args
from selnext_mm.errors import UserError
from selnext_mm.recipes import tune as module
from selnext_mm.recipes.study import OWNER, Current, Study
from selnext_mm.recipes.tune import check_names, image_sizes, suggest, tune
from tests.datasets.formats.writers import SMALL, write_voc

optuna = pytest.importorskip('optuna', reason='pip install "selnext_mm[tune]" to run this')
USUAL = dict(lr=1e-3, weight_decay=0.05, image_size=320, drop_path=0.0)
QUICK = dict(epochs=2, image_size=64, workers=0, batch_size=2)


@pytest.fixture
def labels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))
    return write_voc(SMALL, tmp_path / 'boxes')


@pytest.mark.slow
@pytest.mark.integration
def test_a_search_is_tabled_resumed_and_keeps_the_best(labels, tmp_path, capsys):
    line = ['tune', '--data', str(labels), 'selnext_atto', '--out', 'found', '--over', 'lr']
    line += [f'--{key.replace("_", "-")}={value}' for key, value in QUICK.items()]
    assert main([*line, '--trials', '2']) == 0
    first = capsys.readouterr().out
    assert 'trial 0: lr 0.00071\n' in first  # the recipe's own: 1e-3 sqrt(2 / 4)
    assert '| trial | coco/bbox_mAP | lr | state |' in first
    assert 'selnext-mm train --data' in first
    report = json.loads((tmp_path / 'found' / 'trials.json').read_text())
    rows = report['trials']
    assert [row['number'] for row in rows] in ([0, 1], [1, 0])
    assert all(row['state'] == 'complete' for row in rows)
    kept = {p.parent.name for p in (tmp_path / 'found').glob('trial_*/*.pth')}
    assert kept == {f'trial_{rows[0]["number"]:03d}'}
    assert (tmp_path / 'found' / 'trials.png').is_file()
    for row in rows:  # not all in the folder of the first run of this process
        folder = tmp_path / 'found' / f'trial_{row["number"]:03d}'
        assert len(list(folder.glob('*/vis_data/scalars.json'))) == 1

    assert main([*line, '--trials', '2']) == 0  # nothing is left to do
    again = capsys.readouterr().out
    assert 'Epoch(train)' not in again
    assert f'best: trial {rows[0]["number"]}' in again
    assert main([*line, '--trials', '3', '--seed', '1']) == 2
    assert 'seed 0, now 1; name another --out' in capsys.readouterr().err


def study(folder, **settings):
    said = []
    return Study(folder, settings, said.append), said


class Values:
    """In place of a training: reports these values of the metric."""

    def __init__(self, values):
        self.values = values

    def __call__(self, current):
        for epoch, value in enumerate(self.values, 1):
            current.best = value if current.best is None else max(current.best, value)
            current.trial.report(value, epoch)
            if current.trial.should_prune():
                current.pruned = True
                return


def test_a_trial_below_the_median_is_stopped(tmp_path):
    trials, _ = study(tmp_path)
    for values in ([0.1, 0.4, 0.5], [0.1, 0.3, 0.4], [0.1, 0.3, 0.6], [0.1, 0.05, 0.9]):
        trial = trials.ask()
        trial.suggest_float('lr', 1e-4, 1e-2, log=True)
        current = Current(trial, 'score')
        Values(values)(current)
        trials.tell(trial, current)
    assert [(row.number, row.state, row.score) for row in trials.trials()] == [
        (2, 'complete', 0.6),
        (0, 'complete', 0.5),
        (1, 'complete', 0.4),
        (3, 'pruned', 0.1),
    ]


def dead_process():
    words = [sys.executable, '-c', 'import os; print(os.getpid())']
    return subprocess.run(words, capture_output=True, text=True).stdout.strip()


def test_what_a_dead_process_tried_is_tried_again(tmp_path):
    trials, _ = study(tmp_path)
    trial = trials.ask()
    rate = trial.suggest_float('lr', 1e-4, 1e-2, log=True)
    _, said = study(tmp_path)
    assert said == []  # its process, this one, lives
    dead = dead_process()
    trial.set_user_attr(OWNER, f'{trial.user_attrs[OWNER].partition(":")[0]}:{dead}')
    again, said = study(tmp_path)
    assert said == ['trial 0 was cut off; its settings are tried again']
    assert again.begun() == 0
    assert again.trials() == []
    assert again.ask().suggest_float('lr', 1e-4, 1e-2, log=True) == rate


def ended(trials, folder, score):
    """A trial with this score, and weights."""
    trial = trials.ask()
    current = Current(trial, 'score', best=score)
    trials.tell(trial, current)
    weights(folder, trial.number)


def weights(folder, number):
    path = folder / f'trial_{number:03d}' / 'best_score.pth'
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b'')


def kept(folder):
    return sorted(path.parent.name for path in folder.glob('trial_*/*.pth'))


def test_weights_of_a_killed_trial_are_removed_when_the_search_goes_on(tmp_path):
    """The bug: they stayed for good."""
    trials, _ = study(tmp_path)
    ended(trials, tmp_path, 0.5)
    trials.ask().set_user_attr(OWNER, f'{socket.gethostname()}:{dead_process()}')
    weights(tmp_path, 1)
    again, said = study(tmp_path)
    module._keep_the_best(tmp_path, again, said.append)
    assert kept(tmp_path) == ['trial_000']
    assert said[1:] == ['removed the weights of trial 1; the best is trial 0']


def test_a_search_that_goes_on_elsewhere_is_no_end(labels, tmp_path, monkeypatch, capsys):
    """The bug: the process that ended first named a best, whose weights the other removed."""
    folder = tmp_path / 'found'
    line = ['tune', '--data', str(labels), 'selnext_atto', '--trials', '2', '--out', 'found']

    class Trained(module.Session):
        def train(self, **kwargs):
            (current,) = module.current_trials
            current.best, current.epochs = 0.5, 1
            weights(folder, current.trial.number)
            other = Study(folder, {}, print).ask()  # begins meanwhile
            other.set_user_attr(OWNER, 'elsewhere:1')
            other.suggest_float('lr', 1e-4, 1e-2, log=True)

    monkeypatch.setattr(module, 'Session', Trained)
    assert main([*line, '--epochs', '1']) == 0
    out = capsys.readouterr().out
    assert 'best so far: trial 0, coco/bbox_mAP 0.5000 on the val split\ntrial 1: still' in out
    assert 'running in other processes. If one is better, its weights replace these' in out
    # The other one says so.
    other, said = study(folder)
    trial = optuna.trial.Trial(other.study, other.study.get_trials()[1]._trial_id)
    other.tell(trial, Current(trial, 'score', best=0.7))
    weights(folder, 1)
    module._keep_the_best(folder, other, said.append, 1)
    assert kept(folder) == ['trial_001']
    assert said == ['removed the weights of trial 0; the best is trial 1']
    assert main([*line, '--epochs', '1']) == 0
    out = capsys.readouterr().out
    assert '\nbest: trial 1' in out
    assert 'still running' not in out
    # Another split of the labels is another search.
    assert main([*line, '--epochs', '1', '--val', '0.3']) == 2
    assert 'val None, now' in capsys.readouterr().err


def test_another_machines_trial_is_left_to_it(tmp_path):
    trials, _ = study(tmp_path)
    trials.ask().set_user_attr(OWNER, 'elsewhere:1')
    again, said = study(tmp_path)
    assert (said, again.begun()) == ([], 1)


def test_settings_lie_around_the_recipes_own():
    space = {}
    for _ in range(40):
        trial = optuna.create_study().ask()
        for name, value in suggest(trial, list(USUAL), USUAL).items():
            space.setdefault(name, set()).add(value)
    assert 1e-4 <= min(space['lr']) < max(space['lr']) <= 1e-2
    assert 1e-3 <= min(space['weight_decay']) < max(space['weight_decay']) <= 0.3
    assert 0.0 <= min(space['drop_path']) < max(space['drop_path']) <= 0.4
    assert space['image_size'] <= {256, 320, 384, 480}


@pytest.mark.parametrize(('usual', 'sizes'), [(320, [256, 320, 384, 480]), (32, [32, 64])])
def test_image_sizes_are_multiples_of_32_beside_the_usual(usual, sizes):
    assert image_sizes(usual) == sizes


def test_names_of_settings_are_checked():
    assert check_names([], USUAL) == ['lr', 'weight_decay', 'drop_path', 'image_size']
    assert check_names(['image-size', 'lr'], USUAL) == ['lr', 'image_size']
    with pytest.raises(UserError, match='--over lrr; did you mean lr'):
        check_names(['lrr'], USUAL)
    with pytest.raises(UserError, match='--over drop-path: this model has none'):
        check_names(['drop-path'], dict(lr=1.0))


def test_the_command_has_the_best_and_what_was_fixed():
    line = '--data d retinanet/na_resnet50 --epochs 3 --image-size 64 --workers 0 --val 0.2'
    line += ' --patience 0'  # zeros are values, too
    args = parse_args(line.split())
    assert command(args, dict(lr=0.00071234567, image_size=96)) == (
        'selnext-mm train --data d retinanet/na_resnet50 --val 0.2 --epochs 3 '
        '--workers 0 --patience 0 --lr 0.0007123 --image-size 96'
    )
    assert command(parse_args(['--data', 'my d']), {}) == "selnext-mm train --data 'my d'"


def test_mistakes_are_told_before_a_trial(labels, monkeypatch):
    with pytest.raises(UserError, match='--trials 0'):
        tune(labels, trials=0)
    with pytest.raises(UserError, match="no option 'epohcs'; did you mean epochs"):
        tune(labels, epohcs=3)
    monkeypatch.setitem(sys.modules, 'optuna', None)
    with pytest.raises(UserError, match=r'pip install "selnext_mm\[tune\]"'):
        tune(labels)


def test_a_recipe_that_cannot_be_trained_ends_the_search(labels, monkeypatch):
    class Broken(module.Session):
        def train(self, **kwargs):
            raise UserError('no such weights')

    monkeypatch.setattr(module, 'Session', Broken)
    with pytest.raises(UserError, match='no such weights'):
        tune(labels, 'selnext_atto', trials=3, out='found', say=lambda text: None, **QUICK)


def test_the_folder_of_the_labels_takes_no_search(labels, monkeypatch):
    before = sorted(labels.rglob('*'))
    monkeypatch.chdir(labels)
    for out in (labels, '.', f'{labels}/'):
        with pytest.raises(UserError, match=r'is the folder of the labels.*name another'):
            tune(labels, 'selnext_atto', trials=1, out=out, epochs=1, image_size=1)
    assert sorted(labels.rglob('*')) == before
