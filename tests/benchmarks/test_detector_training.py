"""benchmarks/detector_training.py: what it makes of a log; tests/benchmarks/test_gpu.py runs it."""

import json

import detector_training
import pytest

from selnext_mm.__main__ import call
from selnext_mm.errors import UserError


def rows(losses, first=1, times=None):
    times = times or [0.5] * len(losses)
    return [
        dict(iter=first + i, loss=loss, time=time, data_time=time / 10, memory=100 + i)
        for i, (loss, time) in enumerate(zip(losses, times, strict=True))
    ]


def test_the_first_quarter_is_not_timed():
    run = detector_training.summary(rows([4, 3, 2, 1], times=[9.0, 1.0, 3.0, 2.0]), batch=16)
    assert (run['step_s'], run['images_per_s'], run['peak_mib']) == (2.0, 8.0, 103)
    assert run['data_s'] == pytest.approx(0.2)
    assert (run['first'], run['losses']) == (1, [4, 3, 2, 1])


def test_losses_are_held_against_those_of_the_same_iterations():
    first = detector_training.summary(rows([4.0, 3.0, 2.0, 1.0]), 2)
    again = detector_training.summary(rows([2.0, 1.5], first=3), 2)
    assert detector_training.compare_losses(again, first) == dict(
        first_difference=0.0, largest_difference=0.5
    )
    for begin in (0, 5):  # before the first run, and after its end
        other = detector_training.summary(rows([1.0], first=begin), 2)
        with pytest.raises(UserError, match=f'no iteration {begin}'):
            detector_training.compare_losses(other, first)


def test_the_newest_log_is_read(tmp_path):
    with pytest.raises(UserError, match='stopped before its first step'):
        detector_training.scalars(tmp_path)
    for name, loss in (('20260101_000000', 9.0), ('20260102_000000', 1.0)):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [*map(json.dumps, rows([loss])), '{"step": 1, "coco/bbox_mAP": 0.1}']
        (folder / 'scalars.json').write_text('\n'.join(lines))
    assert [row['loss'] for row in detector_training.scalars(tmp_path)] == [1.0]


def test_mistakes(tmp_path, capsys):
    options = ['mask_rcnn/selnext_t_3x_coco.py', '--data-root', 'x', '--work-dir', str(tmp_path)]
    assert call(detector_training.main, [*options, '--resume', 'iter_2.pth']) == 2
    assert '--resume and --against belong together' in capsys.readouterr().err
    other = tmp_path / 'r.json'
    other.write_text('{}')
    more = ['--resume', 'iter_2.pth', '--against', str(other)]
    assert call(detector_training.main, [*options, *more]) == 2
    assert 'r.json is no result of this program --json' in capsys.readouterr().err
