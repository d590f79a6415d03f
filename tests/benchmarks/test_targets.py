"""benchmarks/targets.py on results made by hand."""

import json

import pytest
import targets

from selnext_mm.__main__ import call


@pytest.fixture
def write(tmp_path):
    def make(suite, rows, device='cpu', precision='fp32', tf32=None):
        path = tmp_path / f'{suite}-{device}.json'
        setting = dict(device=device, precision=precision, tf32=tf32)
        rows = [dict(label=label, **values) for label, values in rows.items()]
        content = dict(suite=suite, rows=rows, setting=setting, machine={}, versions={})
        path.write_text(json.dumps(content))
        return str(path)

    return make


def lines(capsys):
    cells = (line.split(' | ') for line in capsys.readouterr().out.splitlines()[2:])
    return {name.removeprefix('| '): rest for name, *rest in cells}


def test_ratios_are_of_the_best_rows(write, capsys):
    fast = write(
        'fast',
        {
            'ConvNeXt-T backbone': dict(median_s=1.0),
            'SELNeXt-T backbone': dict(median_s=0.3),
            'SELNeXt-T backbone@deploy': dict(median_s=0.41),
            'ConvNeXt-T backbone@compile': dict(median_s=0.6),
            'ConvNeXt-T backbone@compile@channels_last': dict(median_s=0.4),
            'SELNeXt-T backbone@compile': dict(median_s=0.36),
            'SELNeXt-T backbone@deploy@compile': dict(median_s=0.5),
        },
    )
    training = write(
        'training',
        {
            'ConvNeXt-T backbone': dict(median_s=2.0, saved_bytes=100 * 2**20),
            'SELNeXt-T backbone': dict(median_s=1.5, saved_bytes=30 * 2**20),
        },
    )
    assert call(targets.main, [fast, training]) == 0
    found = lines(capsys)
    assert len(found) == len(targets.TARGETS)
    assert found['CPU fp32, inference, 8x224x224'] == [
        *('410 ms / 1000 ms', '0.40', '0.410', '**not met** |')
    ]
    assert found['CPU fp32, inference, 8x224x224, compiled'] == [
        *('360 ms / 400 ms', '0.95', '0.900', 'met |')
    ]
    assert found['CPU fp32, training step, 8x224x224'][2:] == ['0.750', 'met |']
    assert found['CPU fp32, bytes saved, 8x224x224'] == [
        *('30 MiB / 100 MiB', '0.35', '0.300', 'met |')
    ]
    rest = [cells[2:] for name, cells in found.items() if '1x800' in name or 'GPU' in name]
    assert len(rest) == 11
    assert all(cells == ['not run', '|'] for cells in rest)


def test_a_gpus_precisions_are_told_apart(write, capsys):
    rows = {
        'ConvNeXt-T backbone': dict(median_s=0.02),
        'ConvNeXt-T backbone@channels_last': dict(median_s=0.01),
        'SELNeXt-T backbone@deploy': dict(median_s=0.005),
    }
    assert call(targets.main, [write('fast', rows, 'cuda:0', 'fp32', True)]) == 0
    measured = {name: cells for name, cells in lines(capsys).items() if 'not run' not in cells}
    assert measured == {
        'GPU fp32, TF32, inference, 96x224x224': ['5 ms / 10 ms', '0.70', '0.500', 'met |']
    }
