"""The demo, shortened, with every step the real command; what it keeps, resumes and refuses."""

import fcntl
import itertools
import json
import os
import signal
import subprocess
import sys
import termios
from pathlib import Path

import cv2
import pytest

from selnext_mm.cli import demo
from selnext_mm.errors import UserError
from tests.integration.conftest import call


@pytest.mark.integration
def test_demo_ends_with_numbers_and_a_picture(tmp_path):
    """After six iterations a seed may find nothing, which is no failure either."""
    first = call(
        *(sys.executable, '-m', 'selnext_mm', 'demo', '--images', '12', '6', '--epochs', '1'),
        cwd=tmp_path,
    )
    assert first.returncode == 0, first.stderr[-3000:]
    assert 'demo finished' in first.stdout
    assert 'mask mAP' in first.stdout
    assert ' minutes)\n' in first.stdout
    assert 'weights       work_dirs/demo/epoch_1.pth\n' in first.stdout
    panel = cv2.imread(str(tmp_path / 'work_dirs' / 'demo' / 'panel.png'))
    assert panel is not None
    assert panel.std() > 10
    for name in ('results.json', 'results.segm.json', 'epoch_1.pth'):
        assert Path(tmp_path, 'work_dirs', 'demo', name).is_file()


class Steps:
    """Takes the place of the commands: leaves their files, and keeps what was asked for."""

    def __init__(self):
        self.calls, self.predictions, self.stop = [], [dict(score=1)], False

    def __call__(self, command, *arguments):
        self.calls.append((command, *arguments))
        option = dict(itertools.pairwise(arguments))
        work = Path(option.get('--work-dir', '.'))
        if command == 'train':
            work.mkdir(parents=True, exist_ok=True)
            work.joinpath('epoch_1.pth').touch()
            work.joinpath('last_checkpoint').write_text(str(work.resolve() / 'epoch_1.pth'))
            if self.stop:
                raise SystemExit(75)
        elif command == 'test':
            metrics = {'coco/bbox_mAP': 0.25, 'coco/segm_mAP': 0.125}
            Path(option['--out']).write_text(json.dumps(dict(metrics=metrics)))
            work.joinpath('results.segm.json').write_text(json.dumps(self.predictions))

    @property
    def names(self):
        return [call[0] for call in self.calls]


@pytest.fixture
def steps(monkeypatch, tmp_path):
    steps = Steps()
    monkeypatch.setattr(demo, 'run', steps)
    monkeypatch.chdir(tmp_path)
    return steps


def test_a_finished_run_is_kept_and_the_time_is_said_to_be_without_it(steps, capsys):
    assert demo.main(['--epochs', '1']) == 0
    assert 'on 100 held-out images (0.0 minutes)' in capsys.readouterr().out
    assert demo.main(['--epochs', '1']) == 0
    assert '(0.0 minutes, the training was done before)' in capsys.readouterr().out
    assert steps.names.count('train') == 1
    assert steps.names.count('test') == 2


def test_an_interrupted_run_is_resumed_and_the_time_says_so(steps, capsys):
    steps.stop = True
    with pytest.raises(SystemExit):
        demo.main([])
    steps.stop = False
    assert demo.main([]) == 0
    first, second = (call for call in steps.calls if call[0] == 'train')
    assert '--resume' not in first
    assert '--resume' in second
    assert '(0.0 minutes since the training was resumed)' in capsys.readouterr().out


@pytest.mark.parametrize('finished', [True, False])
@pytest.mark.parametrize(
    ('other', 'text'),
    [
        ([], 'epochs 1 (asked: as configured)'),
        (['--epochs', '2'], 'epochs 1 (asked: 2)'),
        (['--epochs', '1', '--images', '9', '4'], 'images 900 100 (asked: 9 4)'),
        (
            ['--epochs', '1', '--config', 'cascade_mask_rcnn/selnext_atto_shapes.py'],
            'config mask_rcnn/selnext_atto_shapes.py (asked: cascade_mask_rcnn/',
        ),
    ],
)
def test_another_run_is_refused_and_left_alone(finished, other, text, steps):
    steps.stop = not finished
    if finished:
        demo.main(['--epochs', '1'])
    else:
        with pytest.raises(SystemExit):
            demo.main(['--epochs', '1'])
    steps.stop = False
    before = {p: p.read_bytes() for p in Path().rglob('*') if p.is_file()}
    steps.calls.clear()
    with pytest.raises(UserError, match=r'holds another run.*another --work-dir') as caught:
        demo.main(other)
    assert text in str(caught.value)
    assert steps.calls == []
    assert before == {p: p.read_bytes() for p in Path().rglob('*') if p.is_file()}
    demo.main([*other, '--work-dir', 'new'])
    assert steps.names[:2] == ['make-shapes', 'train']


@pytest.mark.parametrize('marker', [None, '', '{"config": ', '[]'])
def test_a_run_of_which_nothing_is_known_is_not_the_demo(marker, steps):
    work = Path('work_dirs/demo')
    work.mkdir(parents=True)
    work.joinpath('last_checkpoint').write_text('work_dirs/demo/epoch_1.pth')
    if marker is not None:
        work.joinpath(demo.MARKER).write_text(marker)
    with pytest.raises(UserError, match=r'identifies a run.*another --work-dir'):
        demo.main([])
    assert steps.calls == []


def test_a_finished_run_without_its_weights_is_named(steps):
    demo.main([])
    Path('work_dirs/demo/epoch_1.pth').unlink()
    with pytest.raises(UserError, match=r'epoch_1\.pth.*is not there; remove the folder'):
        demo.main([])
    Path('work_dirs/demo/last_checkpoint').unlink()
    with pytest.raises(UserError, match='last_checkpoint names no checkpoint'):
        demo.main([])


def test_where_nothing_is_predicted_the_picture_shows_the_ground_truth(steps, shapes_root, capsys):
    steps.predictions = []
    Path('data').mkdir()
    Path('data/shapes').symlink_to(shapes_root)
    assert demo.main(['--images', '16', '8']) == 0
    out = capsys.readouterr().out
    assert 'the ground truth beside no prediction' in out
    assert 'demo finished' in out
    assert cv2.imread('work_dirs/demo/panel.png').std() > 10


def of_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.mark.slow
@pytest.mark.integration
@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 75), (signal.SIGINT, 130)])
def test_a_stopped_demo_waits_for_its_training_to_save(number, status, tmp_path):
    """SIGTERM from a scheduler reaches the demo alone, Ctrl-C in a terminal both at once."""
    ours, its = os.openpty()
    demo = subprocess.Popen(
        [sys.executable, '-u', '-m', 'selnext_mm', 'demo', '--images', '12', '6'],
        cwd=tmp_path,
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=of_terminal,
    )
    os.close(its)
    text = ''
    for line in demo.stdout:
        text += line
        if 'Saving checkpoint at 1 epochs' in line:
            if number == signal.SIGINT:
                os.write(ours, b'\x03')
            else:
                demo.send_signal(number)
            break
    text += demo.communicate(timeout=300)[0]
    os.close(ours)
    assert demo.returncode == status, text[-3000:]
    assert f'told to stop by {number.name}; last checkpoint' in text
    assert 'the demo stopped in the step "selnext-mm train"; the same command goes on' in text
    with pytest.raises(ProcessLookupError):  # nothing of it goes on
        os.killpg(demo.pid, 0)
