"""Reading of work dirs, the charts, and the written page."""

import json
import re
import sys

import plotly.graph_objects as go
import pytest

from selnext_mm.errors import UserError
from selnext_mm.report import charts, facts, page
from selnext_mm.report.page import as_json, build_report
from selnext_mm.report.work_dir import (
    annotations_of,
    find_path,
    find_predictions,
    prediction_files,
    read_run,
)
from tests.report.conftest import config_text, degrade, make_run


def rows(*iterations):
    return ''.join(
        json.dumps({'lr': 1, 'loss': float(i), 'iter': i, 'step': i}) + '\n' for i in iterations
    )


def session(folder, name, text):
    (folder / name / 'vis_data').mkdir(parents=True)
    (folder / name / 'vis_data' / 'scalars.json').write_text(text)


def test_a_resumed_run_is_one_curve(tmp_path):
    session(tmp_path, '20260101_000000', rows(10, 20, 30, 40) + '{"lr": 1, "los')
    session(tmp_path, '20260102_000000', rows(30, 40, 50))
    run = read_run(tmp_path)
    assert [r['iter'] for r in run.train] == [10, 20, 30, 40, 50]
    assert run.sessions == 2
    assert any('1 damaged line' in note for note in run.notes)


def test_validation_rows_are_told_from_training_rows(run_dir):
    run = read_run(run_dir)
    assert [r['iter'] for r in run.train] == list(range(10, 90, 10))
    assert [r['step'] for r in run.val] == [1, 2]
    assert facts.best_metrics(run) == {
        'bbox_mAP': '0.3 (epoch 2)',
        'segm_mAP': '0.25 (epoch 2)',
    }
    assert facts.training_seconds(run.train) == 40
    glance = dict(facts.at_a_glance([run]))
    assert glance['parameters'] == ['5.33 M, all trained']
    assert glance['model'] == ['MaskRCNN, backbone SELNeXt (arch atto), neck FPN']


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match='is not a folder'):
        read_run(tmp_path / 'no')
    with pytest.raises(UserError, match='not the work dir of a run'):
        read_run(tmp_path)


def test_a_published_model_is_no_run(tmp_path):
    for name in ('config.py', 'model.safetensors'):
        (tmp_path / name).write_text('')
    with pytest.raises(UserError, match=r'published model .* it was published from'):
        build_report([tmp_path], tmp_path / 'r.html')
    assert not (tmp_path / 'r.html').exists()


def test_paths_of_a_config_are_looked_for_above_the_work_dir(tmp_path, monkeypatch):
    (tmp_path / 'data').mkdir()
    work = tmp_path / 'work_dirs' / 'a'
    work.mkdir(parents=True)
    monkeypatch.chdir('/')
    assert find_path('data', work) == tmp_path / 'data'
    assert find_path('nothing/here', work) is None


def test_predictions_are_found_by_any_of_their_names(run_dir):
    both = {k: run_dir / f'results.{k}.json' for k in ('bbox', 'segm')}
    for name in ('results.json', 'results.bbox.json', 'results.segm.json', 'results'):
        assert prediction_files(run_dir / name) == both
    with pytest.raises(UserError, match='--out'):
        prediction_files(run_dir / 'other.json')


def test_plotly_accepts_every_chart(run_dir, tmp_path, monkeypatch):
    """Plotly's Python classes check every key and value of a figure; its script does not."""
    kept = {}
    monkeypatch.setattr(page, 'as_json', lambda value: kept.update(value) or as_json(value))
    build_report([run_dir], tmp_path / 'a.html')
    names = [c['id'] for c in kept['charts']]
    for part in ('loss', 'lr', 'metrics', 'pr-segm-1', 'sizes-bbox-1', 'confusion-1-0'):
        assert part in names
    assert len(set(names)) == len(names)
    for figure in kept['charts']:
        go.Figure(data=figure['data'], layout=figure['layout'])
        assert figure['data']


def test_precision_recall_has_a_choice_for_each_class_with_objects(run_dir, tmp_path, monkeypatch):
    kept = {}
    monkeypatch.setattr(page, 'as_json', lambda value: kept.update(value) or as_json(value))
    build_report([run_dir], tmp_path / 'a.html')
    figure = next(c for c in kept['charts'] if c['id'] == 'pr-bbox-1')
    traces = [t for o in figure['options'] for t in o['traces']]
    assert sorted(traces) == list(range(len(figure['data'])))
    assert [d['visible'] for d in figure['data'][:4]] == [True, True, True, False]
    assert all(len(d['x']) == len(d['y']) == 101 for d in figure['data'])


def test_the_page_needs_no_network(run_dir, tmp_path):
    build_report([run_dir], tmp_path / 'a.html')
    text = (tmp_path / 'a.html').read_text()
    head = text[: text.index('<script id="data"')]
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", head)
    assert '<link rel="stylesheet"' not in head
    assert '@import' not in head
    assert 'Plotly' in text


def test_the_config_is_that_of_the_training_and_the_test_set_that_of_the_test(
    tmp_path, shapes_root, annotations
):
    run_dir = make_run(tmp_path / 'run', tmp_path / 'elsewhere', None)
    first = run_dir / '20260101_120000' / 'vis_data' / 'config.py'
    later = run_dir / '20260102_120000' / 'vis_data'
    later.mkdir(parents=True)
    # A test without the options of the training, but with a test set that is there.
    (later / 'config.py').write_text(
        config_text(shapes_root).replace('max_epochs=4', 'max_epochs=9')
    )
    run = read_run(run_dir)
    assert run.config_text == first.read_text()
    assert run.config.train_cfg.max_epochs == 4
    ann, images, _ = annotations_of(run)
    assert ann.samefile(annotations)
    assert images.samefile(shapes_root / 'val2017')


def test_text_from_outside_stays_text(tmp_path, shapes_root, annotations):
    content = json.loads(annotations.read_text())
    results, _ = degrade(content)
    content['categories'][0]['name'] = '</script><script>alert(1)</script>'
    content['images'][0]['file_name'] = content['images'][0]['file_name']
    evil = tmp_path / 'ann.json'
    evil.write_text(json.dumps(content))
    folder = make_run(tmp_path / '<b>run', shapes_root, results)
    build_report([folder], tmp_path / 'a.html', annotations=evil)
    text = (tmp_path / 'a.html').read_text()
    assert '<b>run' not in text
    assert '<script>alert(1)' not in text


def test_json_for_a_page_holds_no_nan_and_closes_nothing():
    assert as_json({'a': [float('nan'), float('inf'), 1.5]}) == '{"a":[null,null,1.5]}'
    assert '<' not in as_json('</script>')


def test_a_loss_that_is_no_number_is_said(tmp_path):
    session(tmp_path, '20260101_000000', rows(10) + rows(20).replace('20.0', 'NaN'))
    found = build_report([tmp_path], tmp_path / 'a.html')
    assert any('the loss is nan from iteration 20' in note for _, note in found['notes'])


def test_missing_parts_are_named_and_the_rest_is_there(tmp_path, shapes_root, annotations):
    folder = make_run(tmp_path / 'a', shapes_root, None)
    found = build_report([folder], tmp_path / 'a.html')
    assert found['charts'] > 4
    assert found['pictures'] == 0
    assert any('no predictions' in note and '--out' in note for _, note in found['notes'])
    results, _ = degrade(json.loads(annotations.read_text()))
    folder = make_run(tmp_path / 'b', tmp_path / 'moved', results)
    found = build_report([folder], tmp_path / 'b.html')
    assert any('--ann' in note for _, note in found['notes'])
    found = build_report([folder], tmp_path / 'b.html', annotations=annotations)
    assert any('--images' in note for _, note in found['notes'])
    assert found['pictures'] == 0
    images = shapes_root / 'val2017'
    found = build_report([folder], tmp_path / 'b.html', annotations=annotations, images=images)
    assert found['pictures'] == 8
    assert found['notes'] == []


def test_a_model_that_finds_nothing_is_said(tmp_path, shapes_root):
    folder = make_run(tmp_path / 'a', shapes_root, [])
    found = build_report([folder], tmp_path / 'a.html')
    assert any('the model found nothing' in note for _, note in found['notes'])


def test_predictions_of_other_annotations_are_refused_and_nothing_is_written(run_dir, tmp_path):
    path = run_dir / 'results.bbox.json'
    results = json.loads(path.read_text())
    results[0]['image_id'] = 10**9
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match='image_id 1000000000'):
        build_report([run_dir], tmp_path / 'out' / 'a.html')
    assert not (tmp_path / 'out').exists()


def test_an_unreadable_picture_is_left_out_and_named(run_dir, tmp_path, shapes_root):
    images = tmp_path / 'images'
    images.mkdir()
    files = sorted((shapes_root / 'val2017').iterdir())
    for file in files:
        (images / file.name).write_bytes(file.read_bytes())
    (images / files[0].name).write_bytes(b'no image')
    (images / files[1].name).unlink()
    found = build_report([run_dir], tmp_path / 'a.html', images=images)
    assert found['pictures'] == 6
    (note,) = [note for _, note in found['notes']]
    assert files[0].name in note
    assert f'{files[1].name}: No such file' in note


def test_two_runs_stand_side_by_side(tmp_path, shapes_root, annotations, monkeypatch):
    results, _ = degrade(json.loads(annotations.read_text()))
    first = make_run(tmp_path / 'a' / 'work', shapes_root, results)
    second = make_run(tmp_path / 'b' / 'work', shapes_root, results[:-1], scale=2)
    kept = {}
    monkeypatch.setattr(page, 'as_json', lambda value: kept.update(value) or as_json(value))
    build_report([first, second], tmp_path / 'a.html')
    assert [d['name'] for d in kept['charts'][0]['data']] == ['a/work', 'b/work']
    gallery = kept['galleries']['set-1']
    assert all(len(e['runs']) == 2 for e in gallery['entries'])
    assert any('differ' in e['groups'] for e in gallery['entries'])
    text = (tmp_path / 'a.html').read_text()
    assert 'optim_wrapper.optimizer.lr' in text
    with pytest.raises(UserError, match='same work dir'):
        build_report([first, first], tmp_path / 'b.html')
    with pytest.raises(UserError, match='1 prediction for 2 work dirs'):
        build_report([first, second], tmp_path / 'b.html', predictions=['x.json'])


def test_only_real_differences_of_configs_are_listed(tmp_path, shapes_root):
    runs = [read_run(make_run(tmp_path / n, shapes_root, None, s)) for n, s in (('a', 1), ('b', 3))]
    assert facts.differences([r.config for r in runs]) == [
        ('optim_wrapper.optimizer.lr', ['0.001', '0.003'])
    ]


def test_a_classifier_has_its_accuracy_and_no_boxes(tmp_path, monkeypatch):
    kept = {}
    monkeypatch.setattr(page, 'as_json', lambda value: kept.update(value) or as_json(value))
    val = [json.dumps({'accuracy/top1': 50.0 + i, 'step': i}) + '\n' for i in (1, 2)]
    session(tmp_path, '20260101_000000', rows(10, 20) + ''.join(val))
    config = "default_scope = 'mmpretrain'\nmodel = dict(type='ImageClassifier')\n"
    (tmp_path / '20260101_000000' / 'vis_data' / 'config.py').write_text(config)
    found = build_report([tmp_path], tmp_path / 'a.html')
    assert [c['title'] for c in kept['charts']] == ['Loss', 'Learning rate', 'top1 over epochs']
    assert kept['charts'][-1]['data'][0]['y'] == [51, 52]
    (note,) = [note for _, note in found['notes']]
    assert 'no predictions of the classifier' in note
    assert '--out FILE.json' in note


def test_long_curves_are_thinned_out():
    many = [{'iter': i, 'loss': 1.0, 'lr': 1.0} for i in range(1, 10**5)]
    x, y = charts._series(many, 'iter', 'loss')
    assert charts.POINTS / 2 < len(x) == len(y) <= charts.POINTS
    assert x[0] == 1


def test_a_missing_library_is_named(run_dir, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'plotly.offline', None)
    with pytest.raises(UserError, match=r'pip install "selnext_mm\[report\]"'):
        build_report([run_dir], tmp_path / 'a.html')


def test_metrics_inside_an_evaluator_are_found(tmp_path):
    """``MultiDatasetsEvaluator`` holds its metrics in a list of its own."""
    session(tmp_path / 'run', '20260101_000000', rows(10))
    inside = [{'type': 'CocoMetric', 'ann_file': 'a.json', 'outfile_prefix': 'results/a'}]
    config = tmp_path / 'run/20260101_000000/vis_data/config.py'
    config.write_text(
        'test_dataloader = dict(dataset=dict(type="CocoDataset", ann_file="none.json"))\n'
        f'test_evaluator = dict(type="MultiDatasetsEvaluator", metrics={inside})\n'
    )
    (tmp_path / 'a.json').write_text('{}')
    (tmp_path / 'results').mkdir()
    (tmp_path / 'results' / 'a.bbox.json').write_text('[]')
    run = read_run(tmp_path / 'run')
    assert not run.notes
    assert annotations_of(run)[0] == tmp_path / 'a.json'
    assert find_predictions(run) == tmp_path / 'results' / 'a'
