import json
from itertools import chain

import pytest

from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.analysis.papers.printed import printed_interval
from selnext_mm.analysis.papers.tables import BASELINES, TABLES
from selnext_mm.analysis.trade_off import key, load_measured, trade_off
from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError


def write(path, *rows, where='results'):
    path.write_text(json.dumps({where: rows, 'machine': {'cpu': 'x'}}))
    return load_measured(path)


def test_the_tables_agree_with_the_printed_figures_of_complexity():
    rows = [row for row in chain(*TABLES.values()) if row.config]
    assert len(rows) == 3 + 5 + 6
    for row in rows:
        assert find_config(row.config).is_file()
        figure = PAPER_FIGURES[row.config]
        low, high = printed_interval(figure.params)
        assert low <= round(row.params, 3) <= high, row
        assert row.flops == float(figure.flops), row


def test_names_are_distinct_however_they_are_written():
    for table, rows in TABLES.items():
        keys = [key(row.name) for row in rows]
        assert len(set(keys)) == len(keys), table
        assert BASELINES[table] in [row.name for row in rows]
    assert key('Baseline + SE - LN') != key('Baseline + SELN')
    assert key('configs/cls/selnext_t_in1k.py') == key('SELNeXt-T') == 'selnextt'


def test_the_paper_alone():
    points, homeless = trade_off('table2')
    assert len(points) == 17
    assert not homeless
    base = next(p for p in points if p.name == 'SELNeXt-B')
    assert (base.params, base.flops, base.latency, base.accuracy) == (110, 15.4, 413, 84.2)


def test_patnets_figure_1b():
    """PATNet-T2 beside FasterNet-T2, as Table 1 prints them: 3074 and 2455 images a second."""
    points = {p.name: p for p in trade_off('patnet-gpu')[0]}
    assert len(points) == 36
    ours, theirs = points['PATNet-T2'], points['FasterNet-T2']
    assert (ours.params, ours.flops, ours.accuracy) == (12.6, 1.03, 80.2)
    assert (theirs.params, theirs.flops, theirs.accuracy) == (15.0, 1.91, 78.9)
    assert ours.latency == pytest.approx(1000 / 3074, abs=1e-4)
    assert theirs.latency == pytest.approx(1000 / 2455, abs=1e-4)
    cpu = {p.name: p for p in trade_off('patnet-cpu')[0]}
    assert (cpu['PATNet-T2'].latency, cpu['FasterNet-T2'].latency) == (35.2, 43.7)
    assert {p.family for p in cpu.values() if p.name.startswith('PATNet')} == {'PATNet'}


@pytest.mark.parametrize('where', ['results', 'rows'])
def test_timings_find_their_row(tmp_path, where):
    file = write(
        tmp_path / 'cpu.json',
        dict(name='swin_t', median_ms=50, mean_ms=55),
        dict(name='ours', source='cls/selnext_t_in1k.py', median_s=0.06, mean_s=1),
        dict(name='ConvNeXt-T', median_ms=None, mean_s=0.04),
        dict(name='SELNeXt-T', label='SELNeXt-T@deploy', median_ms=45, params=10),
        dict(name='mystery', median_ms=1),
        dict(name='own', median_ms=2, accuracy=90.5, params=3e6, flops=2e9),
        where=where,
    )
    points, homeless = trade_off('table2', [file])
    assert homeless == ['mystery']
    found = {p.name: p for p in points if p.measured}
    assert {name: p.measured['cpu'] for name, p in found.items()} == {
        'Swin-T': 50,
        'SELNeXt-T': 60,
        'ConvNeXt-T': 40,
        'SELNeXt-T, deploy': 45,
        'own': 2,
    }
    deployed, own = found['SELNeXt-T, deploy'], found['own']
    assert (deployed.accuracy, deployed.accuracy_source, deployed.params) == (82.6, 'paper', None)
    assert (own.accuracy, own.accuracy_source, own.params, own.flops) == (90.5, 'measured', 3, 2)
    assert found['SELNeXt-T'].params == 35


def test_the_same_model_at_two_sizes_is_two_points(tmp_path):
    rows = [dict(name=f'MobileViT-XS at {side}', median_ms=side) for side in (224, 256)]
    points, _ = trade_off('table7', [write(tmp_path / 'cpu.json', *rows)])
    assert {p.name: p.accuracy for p in points if p.measured} == {
        'MobileViT-XS, at 224': 74.8,
        'MobileViT-XS, at 256': 74.8,
    }


@pytest.mark.parametrize(
    ('suite', 'model', 'timed'),
    [
        *(('table2', f'SELNeXt-{size}', f'SELNeXt-{size}') for size in 'TSB'),
        ('table9', 'Baseline + SELN - LN', 'ConvNeXt-T block + SELN - LN'),
    ],
)
def test_another_way_to_compute_a_model_does_not_stand_for_it(suite, model, timed, root):
    path = root / 'benchmarks' / 'results' / f'{suite}_cpu.json'
    points, _ = trade_off(suite, [load_measured(path)])
    found = {p.name: p.measured[path.stem] for p in points if p.measured}
    in_file = {row['label']: row['median_s'] * 1e3 for row in json.loads(path.read_text())['rows']}
    other = ', layer by layer'
    assert found[model] == in_file[timed]
    assert found[f'{model}{other}'] == in_file[f'{timed}{other}'] > found[model]


def test_changed_values_are_a_variant_by_whatever_name(tmp_path):
    changed = dict(source='cls/selnext_t_in1k.py', options={'backbone.impl': 'reference'})
    file = write(
        tmp_path / 'cpu.json',
        dict(name='SELNeXt-T', median_ms=1, source='cls/selnext_t_in1k.py', options={}),
        dict(name='mine', median_ms=2, **changed),
        dict(name='mine, slow@deploy', median_ms=3, **changed),
    )
    points, homeless = trade_off('table2', [file])
    assert homeless == []
    assert {p.name: p.measured['cpu'] for p in points if p.measured} == {
        'SELNeXt-T': 1,
        'SELNeXt-T, backbone.impl=reference': 2,
        'SELNeXt-T, slow, deploy': 3,
    }


def test_two_times_for_one_point_are_refused(tmp_path):
    rows = [dict(name=name, median_ms=1) for name in ('Swin-T', 'ConvNeXt-T', 'swin_t')]
    with pytest.raises(UserError, match="'Swin-T' and 'swin_t' are both Swin-T of table2; leave"):
        trade_off('table2', [write(tmp_path / 'cpu.json', *rows)])


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{', 'not JSON'),
        ('[]', 'no list "results" or "rows"'),
        ('{"results": []}', 'no list "results"'),
        ('{"results": [{"name": "SELNeXt-T"}]}', 'needs a "name" and a positive'),
        ('{"results": [{"name": "SELNeXt-T", "median_ms": -1}]}', 'positive'),
        ('{"results": [{"name": "SELNeXt-T", "median_ms": NaN}]}', 'positive'),
        ('{"results": [{"median_ms": 1}]}', 'needs a "name"'),
        ('{"results": [7]}', 'needs a "name"'),
        ('{"rows": [{"name": "a", "mean_s": 1}, {"name": "a", "mean_s": 1}]}', 'two entries'),
    ],
)
def test_damaged_timings_are_refused(tmp_path, content, message):
    path = tmp_path / 'cpu.json'
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        load_measured(path)


def test_timings_of_other_models_are_refused(tmp_path):
    file = write(tmp_path / 'cpu.json', dict(name='ResNet50', median_ms=3))
    with pytest.raises(UserError, match=r'none of its names \(ResNet50.*is in table9'):
        trade_off('table9', [file])
    with pytest.raises(UserError, match='cannot read the timings'):
        load_measured(tmp_path / 'nowhere.json')
