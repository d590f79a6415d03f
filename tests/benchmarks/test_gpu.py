"""benchmarks/gpu.sh: its plan, a dry run in which steps fail and are cut off, its files."""

import json
import sys
from pathlib import Path

import _gpu_steps
import detector_training
import gpu
import gpu_kernels
import pytest
import targets
from _choose import pick_rows
from _session import base_parser

from selnext_mm.__main__ import call

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')


def plan(toy):
    return {step.name: step for step in _gpu_steps.plan(Path('/work'), '/coco', toy)}


@pytest.mark.parametrize('toy', [False, True], ids=['full', 'toy'])
def test_programs_take_their_arguments(toy):
    for step in plan(toy).values():
        argv = ['--json', 'r.json', *step.argv]
        if step.program in ('latency', 'training'):
            args = base_parser(step.program, '').parse_args(argv)
            assert len(pick_rows(args)) == len(args.rows)
            assert (args.device, args.json) == ('cpu' if toy else 'cuda', 'r.json')
        elif step.program == 'gpu_kernels':
            assert gpu_kernels.parse(argv).device == ('cpu' if toy else 'cuda')
        else:
            args = detector_training.parse(argv)
            assert (args.iterations, args.batch) == ((4, 2) if toy else (40, 16))
            cfg = detector_training.load_config(args.config, args.cfg_options)
            assert cfg.model.type == 'MaskRCNN'
            own = cfg.model.backbone.get('attention_cfg', 'SELN')
            assert (own is None) == (step.name == 'detector_convnext')


def test_every_target_of_a_gpu_is_measured_by_a_step():
    measured = set()
    for step in plan(toy=False).values():
        if step.program in ('latency', 'training'):
            args = base_parser(step.program, '').parse_args(step.argv)
            precision = args.precision + (', TF32' if args.tf32 else '')
            measured |= {(args.suite, precision, row) for row in args.rows}
    wanted = [t for t in targets.TARGETS if t.device == 'cuda']
    assert len(wanted) == 9
    for target in wanted:
        for label in (*target.ours, *target.theirs):
            assert (target.suite, target.precision, label) in measured, target


def test_without_images_nothing_is_begun(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv('SELNEXT_MM_COCO', raising=False)
    with pytest.raises(SystemExit):
        gpu.main(['--out', str(tmp_path / 'new')])
    assert 'set SELNEXT_MM_COCO to a COCO folder' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()


# The dry run with a mistake in one step, and a limit that another cannot keep.
DRIVER = """
import sys, time, types
from dataclasses import replace
sys.path.insert(0, {benchmarks!r})
import _gpu_steps, gpu

def plan(*args, made=_gpu_steps.plan):
    steps = {{step.name: step for step in made(*args)}}
    wrong = dict(program='latency', argv=('SELNeXt-Q', '--batch', '1'))
    steps['training_bf16'] = replace(steps['training_bf16'], **wrong)
    steps['latency_tf32'] = replace(steps['latency_tf32'], program='sleeping', limit_s=1.5)
    return tuple(steps.values())

_gpu_steps.plan = plan
sys.modules['sleeping'] = types.SimpleNamespace(main=lambda argv: time.sleep(60))
sys.exit(gpu.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.integration
def test_a_failing_step_is_told_and_the_others_run(tmp_path, run_tool):
    driver, paths = tmp_path / 'driver.py', {'PYTHONPATH': str(ROOT), 'PYTHONWARNINGS': 'ignore'}
    driver.write_text(DRIVER.format(benchmarks=str(ROOT / 'benchmarks')))
    done = run_tool(driver, '--dry-run', '--out', tmp_path / 'out', env=paths)
    log = (tmp_path / 'out' / 'gpu.log').read_text()
    assert done.returncode == 1, done.stderr
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == [
        *('gpu.json', 'gpu.log', 'targets.md')
    ]
    content = json.loads((tmp_path / 'out' / 'gpu.json').read_text())
    states = {step['name']: step for step in content['steps']}
    rest = states.keys() - {'training_bf16', 'latency_tf32'}
    assert {name for name, s in states.items() if s['status'] == 'done'} == rest, log[-5000:]
    assert content['complete'] is False
    assert content['results'].keys() == rest
    assert states['training_bf16']['status'] == 'failed'
    assert "no model 'SELNeXt-Q'" in states['training_bf16']['reason']
    assert (states['latency_tf32']['status'], states['latency_tf32']['reason']) == (
        *('cut off', 'at its limit of 2 s'),
    )
    last = done.stdout.splitlines()[-1]
    assert last.startswith('done: kernels, latency_bf16, ')
    assert "failed: training_bf16 (error: no model 'SELNeXt-Q'" in last
    assert last.endswith('cut off: latency_tf32 (at its limit of 2 s)')

    assert '===== latency_tf32' in log
    assert 'Timeout (0:00:00.5' in log  # and where it was
    page = (tmp_path / 'out' / 'targets.md').read_text()
    assert 'no measurement' in page.splitlines()[0]
    assert '**Partial' in page
    assert page.count('| not run | |') == len(targets.TARGETS)  # toys are no results
    assert '| fp32 | 8, 5x5 |' in page
    (row,) = content['results']['kernels']['rows']
    assert 0 < row['gradients'] < 2e-6
    first, again = (content['results'][n] for n in ('detector_selnext', 'resume'))
    assert [len(r['run']['losses']) for r in (first, again)] == [4, 2]
    # On a CPU a resumed run is the same bit by bit.
    assert again['run']['losses'] == first['run']['losses'][2:]
    assert again['resumed']['largest_difference'] == 0

    done = run_tool(
        *('bash', ROOT / 'benchmarks' / 'gpu.sh', '--unpack', 'out/gpu.json', 'single'),
        env={'PYTHON': sys.executable},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f'{len(rest)} results in')
    path = tmp_path / 'single' / 'latency_bf16.json'
    assert json.loads(path.read_text()) == content['results']['latency_bf16']


@pytest.fixture
def light(monkeypatch):
    """The program without the imports and signals of a run."""
    for name in ('import_stack', 'make_images'):
        monkeypatch.setattr(gpu, name, lambda *_: None)
    monkeypatch.setattr(gpu, 'prepare', lambda args: args.out.mkdir())
    monkeypatch.setattr(gpu.signal, 'signal', lambda *_: None)


def test_nothing_runs_when_no_time_is_left(tmp_path, light, capsys):
    out = tmp_path / 'out'
    options = ['--dry-run', '--minutes', '0.05', '--steps', 'kernels', 'resume']
    assert call(gpu.main, ['--out', str(out), *options]) == 1
    reason = r'0 s were left, 12 are needed'
    assert capsys.readouterr().out.splitlines()[-1] == (
        f'not run: kernels ({reason}), resume ({reason})'
    )
    content = json.loads((out / 'gpu.json').read_text())
    assert [step['status'] for step in content['steps']] == ['not run'] * 2
    assert '**Partial' in (out / 'targets.md').read_text()


def test_a_call_that_is_ended_keeps_what_it_has(tmp_path, light, monkeypatch, capsys):
    def end(self, start):
        self.states[0].status = gpu.RUNNING
        half = dict(complete=False, rows=[])
        self.path('kernels').write_text(json.dumps(half))
        raise SystemExit(143)

    monkeypatch.setattr(gpu.Call, 'run', end)
    out = tmp_path / 'out'
    with pytest.raises(SystemExit):
        gpu.main(['--out', str(out), '--dry-run', '--steps', 'kernels', 'resume'])
    assert capsys.readouterr().out.splitlines()[-1] == (
        'cut off: kernels (the call was ended while it ran); not yet run: resume'
    )
    assert json.loads((out / 'gpu.json').read_text())['results'].keys() == {'kernels'}
    assert 'Partial: cut off between two precisions.' in (out / 'targets.md').read_text()
