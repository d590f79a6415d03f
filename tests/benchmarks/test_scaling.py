"""benchmarks/scaling.py from its command line, on small images; its plot and its errors."""

import json

import scaling

from selnext_mm.__main__ import call

MODELS = ('--models', 'SELNeXt-T backbone', 'SELNeXt-T backbone@deploy')


def test_points_are_timed_and_drawn(tmp_path, capsys):
    paths = {axis: tmp_path / f'{axis}.json' for axis in ('side', 'batch')}
    for axis, points in (('side', ('32', '64')), ('batch', ('1', '2'))):
        options = ('--axis', axis, '--points', *points, '--repeats', '2', '--warmup', '0')
        options += ('--batch', '3') if axis == 'side' else ('--side', '32')
        assert call(scaling.main, [*options, *MODELS, '--json', str(paths[axis])]) == 0
    rows = json.loads(paths['side'].read_text())['rows']
    assert [(row['side'], row['pixels']) for row in rows] == [
        *[(32, 3 * 32 * 32)] * 2,
        *[(64, 3 * 64 * 64)] * 2,
    ]
    assert all(len(row['seconds']) == 2 and row['median_s'] > 0 for row in rows)
    rows = json.loads(paths['batch'].read_text())['rows']
    assert [(row['batch'], row['images']) for row in rows] == [(1, 1)] * 2 + [(2, 2)] * 2
    printed = capsys.readouterr().out
    assert printed.count('ns/px') == 8

    picture = tmp_path / 'plot.png'
    assert call(scaling.main, ['--plot', str(picture), *map(str, paths.values())]) == 0
    assert picture.read_bytes().startswith(b'\x89PNG')


def test_wrong_requests_are_one_line(tmp_path, capsys):
    for argv, message in (
        (['x.json'], 'results are for --plot'),
        (['--plot', str(tmp_path / 'a.png')], '--plot PNG needs results'),
        (['--plot', str(tmp_path / 'a.png'), str(tmp_path / 'no.json')], 'cannot be read'),
        (['--models', 'SELNeXt-Q'], 'SELNeXt-Q'),
    ):
        assert call(scaling.main, argv) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count('\n') == 1
    assert list(tmp_path.iterdir()) == []
