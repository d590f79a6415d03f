"""A short run of the chaos script; the long one is in docs/reliability.md."""

import json

import pytest

pytestmark = pytest.mark.integration


@pytest.mark.slow
@pytest.mark.parametrize(('processes', 'kills', 'images'), [(1, 2, 12), (2, 1, 16)])
def test_a_few_kills_lose_nothing(processes, kills, images, root, run_tool, tmp_path):
    result = run_tool(
        *(root / 'dev' / 'chaos.py', '--processes', processes, '--kills', kills),
        *('--epochs', 1, '--images', images, '--every-iters', 2, '--seed', 1),
        *('--work-dir', tmp_path / 'chaos', '--out', tmp_path / 'report.json'),
        env=dict(PYTHONPATH=str(root)),
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    report = json.loads((tmp_path / 'report.json').read_text())
    trained = report['lost_iterations']
    assert report['kills'] == len(trained) + report['kills_before_the_first_iteration'] == kills
    assert report['resumes'] + report['starts_from_scratch'] > kills
    assert max(trained, default=0) <= 2
    if processes == 1:
        assert len(trained) >= 1
        assert report['resumes'] >= 1
    assert report['lost_before_the_first_iteration'] == 0
    assert report['trainings_equal'] == report['trainings_finished'] >= 1
    assert report['damaged_checkpoints'] == []


def test_another_folder_is_not_emptied(root, run_tool, tmp_path):
    (tmp_path / 'mine').mkdir()
    (tmp_path / 'mine' / 'notes.txt').write_text('precious')
    result = run_tool(root / 'dev' / 'chaos.py', '--work-dir', tmp_path / 'mine')
    assert result.returncode == 1
    assert 'is not empty' in result.stderr
    assert (tmp_path / 'mine' / 'notes.txt').read_text() == 'precious'
