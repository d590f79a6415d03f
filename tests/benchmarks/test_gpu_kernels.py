"""benchmarks/gpu_kernels.py: what it says of right, wrong and failing kernels.

The kernels themselves run in tests/benchmarks/test_gpu.py.
"""

import json

import gpu_kernels
import pytest

from selnext_mm.__main__ import call

OPTIONS = ('--device', 'cpu', '--precision', 'fp32', 'bf16', '--stages', '8x5', '16x3')


@pytest.fixture
def measured(monkeypatch):
    """Rows by precision and channels in place of the measurement; an exception is raised."""
    rows = {}

    def measure(precision, channels, side, batch, device):
        found = rows.get((precision, channels), 1e-7)
        if isinstance(found, BaseException):
            raise found
        errors = dict(inference=found, output=found, gradients=2 * found)
        right = 2 * found <= 1e-4
        return dict(errors, layers=errors, allowed=1e-4, right=right, used=True, direct=True)

    monkeypatch.setenv('TRITON_INTERPRET', '1')
    monkeypatch.setattr(gpu_kernels, 'measure', measure)
    return rows


def test_right_kernels(measured, tmp_path, capsys):
    path = tmp_path / 'r.json'
    assert call(gpu_kernels.main, [*OPTIONS, '--json', str(path)]) == 0
    result = json.loads(path.read_text())
    assert result['complete'] is True
    assert [(r['precision'], r['channels'], r['side']) for r in result['rows']] == [
        (precision, *stage) for precision in ('fp32', 'bf16') for stage in ((8, 5), (16, 3))
    ]
    lines = capsys.readouterr().out.splitlines()
    assert lines[2] == ('| fp32 | 8, 5x5 | 1.0e-07 | 1.0e-07 | 2.0e-07 | 2.0e-07 | 1e-04 | right |')


def test_a_wrong_and_a_failing_kernel_are_told_and_the_others_run(measured, tmp_path, capsys):
    measured['fp32', 8] = 0.3
    measured['fp32', 16] = RuntimeError('out of resource: shared memory\nand more')
    path = tmp_path / 'r.json'
    assert call(gpu_kernels.main, [*OPTIONS, '--json', str(path)]) == 1
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[2].endswith('| **wrong** |')
    assert lines[3].endswith('**RuntimeError: out of resource: shared memory** |')
    assert all(line.endswith('| right |') for line in lines[4:])
    assert printed.err.splitlines()[-1] == '2 of 4 rows are wrong'
    assert [r['right'] for r in json.loads(path.read_text())['rows']] == [False, False, True, True]


def test_what_was_measured_before_a_kill_is_there(measured, tmp_path):
    measured['bf16', 8] = KeyboardInterrupt()
    path = tmp_path / 'r.json'
    with pytest.raises(KeyboardInterrupt):
        gpu_kernels.main([*OPTIONS, '--json', str(path)])
    result = json.loads(path.read_text())
    assert (result['complete'], len(result['rows'])) == (False, 2)


def test_mistakes(monkeypatch, capsys):
    monkeypatch.delenv('TRITON_INTERPRET', raising=False)
    assert call(gpu_kernels.main, ['--device', 'cpu']) == 2
    assert 'set TRITON_INTERPRET=1' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu_kernels.main(['--stages', '96x0'])
    assert '96x0; expected CHANNELSxSIDE such as 96x56' in capsys.readouterr().err
