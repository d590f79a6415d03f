import os
import zipfile

import pytest
import torch

from selnext_mm.checkpoints.integrity import write_checkpoint
from selnext_mm.engine.preflight.weights import resolve_resume
from selnext_mm.engine.resume.lineage import find_newest, restart_warning, start_run
from selnext_mm.errors import UserError
from tests.engine.resume.test_exact_resume import run
from tests.engine.toy import IMAGES, ToyData


def checkpoint(folder, name, step, run=None, **changes):
    meta = dict(epoch=step // 5, iter=step, run_id=run)
    content = dict(meta=meta, state_dict=dict(a=torch.rand(5000)), optimizer=dict())
    return write_checkpoint({**content, **changes}, folder / name)


@pytest.fixture
def three(tmp_path):
    """Made in another order than their iterations."""
    return [checkpoint(tmp_path, f'iter_{step}.pth', step) for step in (10, 15, 5)]


def test_the_furthest_is_taken_whatever_the_pointer_and_the_times(tmp_path, three):
    (tmp_path / 'last_checkpoint').write_text(str(three[0]))
    newest = find_newest(tmp_path)
    assert (newest.path, newest.epoch, newest.iter) == (three[1], 3, 15)
    assert newest.skipped == []


def test_damaged_ones_are_skipped_with_the_reason(tmp_path, three):
    data = bytearray(three[1].read_bytes())
    data[len(data) // 2] ^= 1
    three[1].write_bytes(data)
    os.truncate(three[0], 3000)
    newest = find_newest(tmp_path)
    assert newest.path == three[2]
    reasons = {path.name: reason for path, reason in newest.skipped}
    assert 'checksum' in reasons['iter_15.pth']
    assert 'truncated' in reasons['iter_10.pth']
    assert newest.lines()[-1] == f'resume from {three[2]} (epoch 1, iteration 5)'
    assert len(newest.lines()) == 3


def test_only_damaged_ones_are_an_error_that_names_each(tmp_path, three):
    for path in three:
        os.truncate(path, 100)
    with pytest.raises(UserError, match='can be resumed from') as caught:
        find_newest(tmp_path)
    assert all(path.name in str(caught.value) for path in three)
    for resume in ('auto', 'if-any'):
        with pytest.raises(UserError, match='can be resumed from'):
            resolve_resume(str(tmp_path), resume)


def test_weights_are_no_state_of_training(tmp_path):
    write_checkpoint(dict(state_dict=dict()), tmp_path / 'weights.pth')
    checkpoint(tmp_path, 'best_map_epoch_3.pth', 15)
    first = checkpoint(tmp_path, 'epoch_1.pth', 5)
    assert find_newest(tmp_path).path == first


def test_nothing_there(tmp_path):
    assert find_newest(tmp_path) is None
    assert resolve_resume(str(tmp_path), 'if-any') is None
    assert resolve_resume(str(tmp_path / 'none'), 'if-any') is None
    with pytest.raises(UserError, match='no checkpoint in'):
        resolve_resume(str(tmp_path), 'auto')


def test_a_run_started_anew_does_not_go_on_from_the_former_one(tmp_path):
    first = start_run(tmp_path, None)
    checkpoint(tmp_path, 'epoch_9.pth', 45, first)
    second = start_run(tmp_path, None)
    assert find_newest(tmp_path) is None
    own = checkpoint(tmp_path, 'epoch_1.pth', 5, second)
    newest = find_newest(tmp_path)
    assert newest.path == own
    ((path, reason),) = newest.skipped
    assert path == tmp_path / 'epoch_9.pth'
    assert reason.startswith('it belongs to an earlier run in this folder')


def meta(path):
    return torch.load(path, weights_only=True)['meta']


def test_going_back_on_purpose_leaves_the_later_ones_behind(tmp_path):
    run = start_run(tmp_path, None)
    paths = [checkpoint(tmp_path, f'epoch_{e}.pth', 5 * e, run) for e in (1, 2, 3)]
    assert start_run(tmp_path, (paths[2], meta(paths[2]))) == run
    branch = start_run(tmp_path, (paths[0], meta(paths[0])))
    assert branch != run
    assert find_newest(tmp_path).path == paths[0]
    later = checkpoint(tmp_path, 'epoch_2.pth', 10, branch)
    assert find_newest(tmp_path).path == later


def test_files_without_a_run_of_another_program_are_an_earlier_run_too(tmp_path):
    stock = [checkpoint(tmp_path, f'epoch_{e}.pth', 5 * e) for e in (3, 12)]
    assert find_newest(tmp_path).path == stock[1]  # nobody wrote down whose they are
    run = start_run(tmp_path, (stock[0], meta(stock[0])))
    assert find_newest(tmp_path).path == stock[0]
    own = checkpoint(tmp_path, 'epoch_4.pth', 20, run)
    assert find_newest(tmp_path).path == own
    anew = start_run(tmp_path, None)
    assert find_newest(tmp_path) is None
    own = checkpoint(tmp_path, 'epoch_1.pth', 5, anew)
    assert find_newest(tmp_path).path == own


def test_a_kill_while_a_run_is_started_anew_leaves_no_way_back(tmp_path, monkeypatch):
    old = checkpoint(tmp_path, 'epoch_9.pth', 45, start_run(tmp_path, None))
    (tmp_path / 'last_checkpoint').write_text(str(old))

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr('pathlib.Path.unlink', killed)
    with pytest.raises(KeyboardInterrupt):
        start_run(tmp_path, None)
    assert find_newest(tmp_path) is None


def test_an_archive_that_would_fill_the_memory_is_not_opened(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_2.pth'
    torch.save(dict(meta=dict(epoch=2, iter=10), optimizer=dict()), path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            tail = bytes(50_000_000) if name.endswith('data.pkl') else b''
            archive.writestr(name, part + tail)
    good = checkpoint(tmp_path, 'epoch_1.pth', 5)
    load, opened = torch.load, []
    monkeypatch.setattr(torch, 'load', lambda p, **kw: (opened.append(p), load(p, **kw))[1])
    newest = find_newest(tmp_path)
    assert newest.path == good
    assert opened[0] == good
    assert path not in opened
    assert 'unpacks to' in newest.skipped[0][1]


@pytest.mark.parametrize('value', ['5', None, [5], 5.5, -5, True])
def test_iterations_that_are_no_counts_are_no_state_of_training(tmp_path, value):
    path = checkpoint(tmp_path, 'epoch_2.pth', 10)
    write_checkpoint(dict(meta=dict(epoch=1, iter=value), optimizer={}), path)
    good = checkpoint(tmp_path, 'epoch_1.pth', 5)
    newest = find_newest(tmp_path)
    assert newest.path == good
    assert 'not valid counts' in newest.skipped[0][1]


def test_a_run_id_of_another_kind_is_none(tmp_path):
    run = start_run(tmp_path, None)
    checkpoint(tmp_path, 'epoch_2.pth', 10, [1])
    own = checkpoint(tmp_path, 'epoch_1.pth', 5, run)
    assert find_newest(tmp_path).path == own


def test_a_run_that_goes_on_from_another_folder(tmp_path):
    old, new = tmp_path / 'old', tmp_path / 'new'
    old.mkdir()
    new.mkdir()
    path = checkpoint(old, 'epoch_2.pth', 10, start_run(old, None))
    run = start_run(new, (path, meta(path)))
    assert find_newest(new).path == path
    own = checkpoint(new, 'epoch_3.pth', 15, run)
    assert find_newest(new).path == own


def test_a_folder_that_was_moved(tmp_path):
    (tmp_path / 'a').mkdir()
    path = checkpoint(tmp_path / 'a', 'epoch_2.pth', 10)
    (tmp_path / 'a' / 'last_checkpoint').write_text(str(path))
    (tmp_path / 'a').rename(tmp_path / 'b')
    assert find_newest(tmp_path / 'b').path == tmp_path / 'b' / 'epoch_2.pth'


@pytest.mark.parametrize(
    ('content', 'text'),
    [
        (dict(state_dict=dict()), 'no epoch'),
        (dict(meta=dict(epoch=1, iter=5), state_dict=dict()), 'no optimizer state'),
    ],
)
def test_a_file_by_name_has_to_be_a_state_of_training(tmp_path, content, text):
    path = write_checkpoint(content, tmp_path / 'a.pth')
    with pytest.raises(UserError, match=text):
        resolve_resume(str(tmp_path), str(path))
    with pytest.raises(UserError, match='no such file'):
        resolve_resume(str(tmp_path), str(tmp_path / 'none.pth'))


def test_all_processes_resume_or_none(tmp_path, monkeypatch):
    """On a shared disk that lags, this one saw no checkpoint where the first one saw one."""
    from selnext_mm.engine import runner as module

    path = run(tmp_path / 'first', epochs=1).message_hub.get_info('last_ckpt')

    def first(value):
        return (True, path) if isinstance(value, tuple) else value

    monkeypatch.setattr(module, 'from_first', first)
    ToyData.loaded.clear()
    assert run(tmp_path / 'second', epochs=2, val=False).iter == 10
    assert len(ToyData.loaded) == IMAGES  # of the second epoch alone


def test_a_run_that_took_the_folder_of_another_says_how_to_go_on_from_that_one(tmp_path):
    """The bug: its warning said --resume, and --resume found no checkpoint."""
    earlier = checkpoint(tmp_path, 'epoch_1.pth', 5, 'one')
    warning = restart_warning(tmp_path)
    assert f'to go on from the earlier one stop this run and give --resume {earlier}' in warning
    start_run(tmp_path, None)
    with pytest.raises(UserError, match='no checkpoint of its last run') as caught:
        resolve_resume(str(tmp_path), 'auto')
    assert str(caught.value).endswith(f'--resume {earlier} goes on from it')
    assert resolve_resume(str(tmp_path), str(earlier)).path == earlier
