import csv
import json

import numpy as np
import pytest
from PIL import Image

from selnext_mm.__main__ import main


@pytest.mark.parametrize('table', ['table2', 'table7', 'table9', 'patnet-gpu'])
def test_the_paper_alone(table, tmp_path, capsys):
    out, rows = tmp_path / 'new' / 'fig5.png', tmp_path / 'fig5.csv'
    args = ['--table', table, '--out', str(out), '--csv', str(rows)]
    assert main(['trade-off', *args]) == 0
    lines = capsys.readouterr().out.splitlines()
    with open(rows, newline='') as file:
        read = list(csv.DictReader(file))
    assert [line.split('  ')[0] for line in lines[1 : len(read) + 1]] == [r['model'] for r in read]
    picture = np.asarray(Image.open(out).convert('RGB'))
    assert picture.shape[1] > 1400
    # The three panels have their own colours in them, not only axes.
    for panel in np.array_split(picture, 3, axis=1):
        assert (np.ptp(panel.astype(int), axis=2) > 80).sum() > 200


def test_with_timings(tmp_path, capsys):
    cpu = tmp_path / 'cpu.json'
    cpu.write_text(
        json.dumps(
            {
                'results': [
                    {'name': 'ConvNeXt-T', 'median_ms': 200},
                    {'name': 'SELNeXt-T', 'median_ms': 210},
                    {'name': 'else', 'median_ms': 1},
                ]
            }
        )
    )
    out, rows = tmp_path / 'fig5.png', tmp_path / 'fig5.json'
    args = ['--measured', str(cpu), '--out', str(out), '--json', str(rows)]
    assert main(['trade-off', *args]) == 0
    printed = capsys.readouterr()
    line = next(line for line in printed.out.splitlines() if line.startswith('SELNeXt-T '))
    assert line.split()[-4:] == ['160', '1.019', '210', '1.050']
    assert 'left out, no accuracy known: else' in printed.err
    measured = {r['model']: r['latency_ms_cpu'] for r in json.loads(rows.read_text())}
    assert {name: ms for name, ms in measured.items() if ms} == {
        'SELNeXt-T': 210,
        'ConvNeXt-T': 200,
    }
    assert Image.open(out).size[0] > 2000  # a fourth panel


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--out', 'x.pdf'], 'ends in .png'),
        (['--out', 'x.png', '--measured', 'nowhere.json'], 'nowhere.json'),
    ],
)
def test_bad_options_end_in_one_message(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(['trade-off', *args]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
