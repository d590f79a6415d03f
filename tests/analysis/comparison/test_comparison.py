"""The table of a comparison from results that are given, and what is refused before any run."""

import csv
import json

import pytest
from mmengine.config import Config

from selnext_mm.analysis.comparison import runs as module
from selnext_mm.analysis.comparison.plan import Model, Protocol, Run, finished, plan
from selnext_mm.analysis.comparison.runs import run_all, run_config
from selnext_mm.analysis.comparison.table import shown, spread, write_tables
from selnext_mm.disk import write_json
from selnext_mm.engine.resume.work_dir_lock import WorkDirLock
from selnext_mm.errors import UserError

FULL = Protocol(100, 100, 50, 50, None, None, (100,), (64,))
REDUCED = Protocol(40, 100, 50, 50, 5, 32, (100,), (64,))


def result(model, seed, top1, expansion):
    distance = dict(block=dict(mean=0.25), expansion=expansion and dict(mean=expansion))
    return dict(
        config=model.label,
        config_digest=model.digest,
        seed=seed,
        top1=top1,
        distance=distance,
        seconds=10.0,
        machine=dict(processor='P', threads=1),
        versions=dict(torch='2'),
    )


@pytest.fixture
def runs(tmp_path):
    models = [Model(label, None, 'abc', 1_500_000) for label in ('one', 'two', 'three')]
    runs = [Run(m, s, tmp_path / 'runs' / f'{m.label}_seed{s}') for s in (0, 1, 2) for m in models]
    values = {('one', 0): 40.0, ('one', 1): 44.0, ('one', 2): 42.0, ('two', 1): 10.0}
    for run in runs:
        if (run.model.label, run.seed) in values:
            run.folder.mkdir(parents=True)
            top1 = values[run.model.label, run.seed]
            expansion = top1 / 100 if run.model.label == 'one' else None
            write_json(run.folder / 'result.json', result(run.model, run.seed, top1, expansion))
    return runs


def test_table_has_mean_and_sample_std_and_names_what_was_not_run(runs, tmp_path):
    text = write_tables(runs, REDUCED, tmp_path, 'selnext-mm compare x')
    assert text.startswith('REDUCED comparison: 40 of 100 training images, 5 of 100 epochs, ')
    assert '| one | 1.50 | 0 1 2 | 42.0 ± 2.0 | 0.420 ± 0.020 | 0.250 ± 0.000 |' in text
    assert '| two | 1.50 | 1 (not run: 0 2) | 10.0 | - | 0.250 |' in text
    assert '| three | 1.50 | not run | - | - | - |' in text
    assert '- command: `selnext-mm compare x`' in text
    assert 'processor P, threads 1' in text
    assert (tmp_path / 'comparison.md').read_text() == text
    rows = list(csv.DictReader((tmp_path / 'comparison.csv').read_text().splitlines()))
    assert [r['missing'] for r in rows] == ['', '0 2', '0 1 2']
    assert float(rows[0]['top1_std']) == 2.0
    whole = json.loads((tmp_path / 'comparison.json').read_text())
    assert whole['kind'] == 'reduced'
    assert whole['protocol']['size'] == 32
    assert len(whole['runs']) == 4


def test_a_table_of_32_pixels_says_what_it_cannot_show(runs, tmp_path):
    assert 'the last stage is 1 x 1' in write_tables(runs, REDUCED, tmp_path, 'x')
    larger = Protocol(40, 100, 50, 50, 5, 64, (100,), (64,))
    assert '1 x 1' not in write_tables(runs, larger, tmp_path, 'x')
    own = Protocol(100, 100, 50, 50, None, None, (100,), (32,))
    assert '1 x 1' in write_tables(runs, own, tmp_path, 'x')


def test_the_table_says_which_differences_are_significant(runs, tmp_path):
    assert 'significant' not in write_tables(runs, REDUCED, tmp_path, 'x')  # one has several seeds
    two = {run.seed: run for run in runs if run.model.label == 'two'}
    two[0].folder.mkdir(parents=True)
    write_json(two[0].folder / 'result.json', result(two[0].model, 0, 13.0, None))
    # s = sqrt((2 * 2^2 + 4.5) / 3), t of 3 degrees of freedom 3.182, 3 and 2 seeds
    assert (
        'A difference of 5.9 points in top-1, 0 in the distance (block) or more is significant'
    ) in write_tables(runs, REDUCED, tmp_path, 'x')


def test_spread_is_of_what_is_there():
    assert spread([1.0, None, 3.0]) == (2.0, pytest.approx(2**0.5))
    assert spread([1.0]) == (1.0, None)
    assert spread([None]) == (None, None)


def test_the_table_of_the_page_is_that_of_the_runs(root):
    """benchmarks/results/cifar10_reduced.json: its rows follow from its runs, and are docs/'s."""
    path = root / 'benchmarks' / 'results' / 'cifar10_reduced.json'
    whole = json.loads(path.read_text())
    page = (root / 'docs' / 'results.md').read_text()
    assert whole['command'] in page
    assert path.name in page
    assert len(whole['runs']) == 14 * 3
    for row in whole['rows']:
        runs = [run for run in whole['runs'] if run['config'] == row['model']]
        assert [run['seed'] for run in runs] == row['seeds'] == [0, 1, 2]
        texts = []
        for key, digits in (('top1', 1), ('distance_expansion', 3), ('distance_block', 3)):
            value, std = spread([run[key] for run in runs])
            assert row[key] == (None if value is None else pytest.approx(value, abs=2e-6))
            texts.append(shown(value, std, digits))
        cells = [row['model'], f'{row["params"] / 1e6:.2f}', '0 1 2', *texts]
        assert f'| {" | ".join(cells)} |' in page


def test_only_all_of_it_is_full(runs, tmp_path):
    assert not FULL.reduced
    assert not Protocol(100, 100, 50, 50, 100, 64, (100,), (64,)).reduced
    for field, value in dict(train_images=90, test_images=40, epochs=99, size=32).items():
        assert Protocol(**{**vars(FULL), field: value}).reduced, field
    assert write_tables(runs, FULL, tmp_path, 'x').startswith('FULL comparison')


def test_results_of_another_config_are_not_taken(runs):
    assert finished(runs[0])['top1'] == 40.0
    other = Run(Model('one', None, 'def', 1), 0, runs[0].folder)
    with pytest.raises(UserError, match='made when one had other values'):
        finished(other)


def test_a_run_that_another_process_holds_is_left_to_it(runs, monkeypatch, tmp_path):
    def config(run, *_):
        return Config(dict(model=dict(), work_dir=str(run.folder)))

    executed, said = [], []

    def execute(session, run):
        executed.append(run)
        outcome = result(run.model, run.seed, 50.0, None)
        write_json(run.folder / 'result.json', outcome)
        return outcome

    monkeypatch.setattr(module, 'run_config', config)
    monkeypatch.setattr(module, 'execute', execute)
    held, *free = [run for run in runs if not finished(run)]
    held.folder.mkdir(parents=True, exist_ok=True)
    other = WorkDirLock(held.folder)
    other.acquire()
    run_all(runs, REDUCED, tmp_path, tmp_path, say=said.append)
    assert executed == free
    assert said[1] == f'{held}: another process is working on it'
    other.release()
    run_all(runs, REDUCED, tmp_path, tmp_path, say=said.append)
    assert executed == [*free, held]


@pytest.fixture
def model():
    from selnext_mm.analysis.comparison.plan import load_models

    return load_models(['cls/cifar10/mobilenet_v3_l_se_cifar10.py'])[0]


@pytest.fixture
def data(model, tmp_path):
    for split, count in (('train', 15), ('test', 2)):
        for name in model.classes:
            folder = tmp_path / 'data' / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f'{i}.jpg').touch()
    return tmp_path / 'data'


def test_run_config_carries_the_protocol(model, data, tmp_path):
    out = tmp_path / 'out'
    runs, protocol = plan([model], [3], data, out, epochs=20, train_images=100, size=48)
    assert str(protocol).startswith('100 of 150 training images, 20 of 100 epochs, 20 of 20 test')
    cfg = run_config(runs[0], protocol, data, out, workers=None)
    assert cfg.train_cfg.max_epochs == cfg.param_scheduler[0].total_steps == 20
    assert cfg.randomness.seed == 3
    assert [t.scale for t in cfg.train_dataloader.dataset.pipeline if 'scale' in t] == [(48, 48)]
    assert model.cfg.train_cfg.max_epochs == 100  # the model's own config stays
    lines = (out / 'train.txt').read_text().splitlines()
    assert len(lines) == 100
    assert lines[0] == 'airplane/0.jpg 0'
    cfg = run_config(runs[0], protocol, data, out, workers=2)
    assert cfg.train_dataloader.num_workers == 2


def test_another_protocol_needs_another_folder(model, data, tmp_path):
    plan([model], [0], data, tmp_path / 'out', epochs=20)
    with pytest.raises(UserError, match=r'contains runs with epochs 20 \(now 30\); give another'):
        plan([model], [0], data, tmp_path / 'out', epochs=30)


def test_too_short_a_training_is_refused(model, data, tmp_path):
    with pytest.raises(UserError, match='are 2 iterations; at least 20'):
        plan([model], [0], data, tmp_path / 'out', epochs=1)
    assert not (tmp_path / 'out').exists()
