"""SafeCheckpointHook: order of writing and removing, signals, failures."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from selnext_mm import disk
from selnext_mm.__main__ import call
from selnext_mm.checkpoints import integrity as atomic
from selnext_mm.disk import temporary_files
from selnext_mm.engine.resume.checkpoint_hook import SafeCheckpointHook
from selnext_mm.engine.resume.lineage import find_newest
from selnext_mm.engine.signals import Stopped
from selnext_mm.errors import UserError
from tests.engine.resume.test_exact_resume import interrupted, resumed, run
from tests.engine.toy import (
    At,
    BeforeEnd,
    Killed,
    ToyMetric,
    assert_same,
    build,
    everything,
    kill,
)


def names(folder):
    return sorted(p.name for p in Path(folder).glob('*.pth'))


def pointer(folder):
    return Path((Path(folder) / 'last_checkpoint').read_text()).name


def hook(**options):
    return dict(default_hooks=dict(checkpoint=options))


def test_old_ones_go_after_the_new_one_is_there(tmp_path, monkeypatch):
    seen = []
    remove = SafeCheckpointHook._remove

    def spy(self, name):
        seen.append((name, names(tmp_path), pointer(tmp_path)))
        remove(self, name)

    monkeypatch.setattr(SafeCheckpointHook, '_remove', spy)
    run(tmp_path, val=False, **hook(max_keep_ckpts=1))
    assert seen == [
        ('epoch_1.pth', ['epoch_1.pth', 'epoch_2.pth'], 'epoch_2.pth'),
        ('epoch_2.pth', ['epoch_2.pth', 'epoch_3.pth'], 'epoch_3.pth'),
    ]
    assert names(tmp_path) == ['epoch_3.pth']


@pytest.mark.parametrize('moment', ['before the rename', 'before the pointer', 'before removing'])
def test_a_kill_at_each_step_of_a_write(tmp_path, monkeypatch, moment):
    """Of the second of two checkpoints where one is kept."""
    options = dict(val=False, **hook(max_keep_ckpts=1))
    whole = everything(run(tmp_path / 'whole', **options))

    def second(function):
        calls = []

        def wrapped(*args, **kwargs):
            calls.append(args)
            if len(calls) == 2 or moment == 'before removing':
                raise Killed
            return function(*args, **kwargs)

        return wrapped

    folder = tmp_path / 'parts'
    with monkeypatch.context() as patch:
        if moment == 'before the rename':
            patch.setattr(atomic, 'damage', second(atomic.damage))
        elif moment == 'before the pointer':
            target = 'selnext_mm.engine.resume.checkpoint_hook.write_text'
            patch.setattr(target, second(disk.write_text))
        else:
            patch.setattr(SafeCheckpointHook, '_remove', second(SafeCheckpointHook._remove))
        with pytest.raises(Killed):
            run(folder, **options)
    expected = {
        'before the rename': (['epoch_1.pth'], 'epoch_1.pth', 'epoch_1.pth'),
        'before the pointer': (['epoch_1.pth', 'epoch_2.pth'], 'epoch_1.pth', 'epoch_2.pth'),
        'before removing': (['epoch_1.pth', 'epoch_2.pth'], 'epoch_2.pth', 'epoch_2.pth'),
    }[moment]
    assert (names(folder), pointer(folder), find_newest(folder).path.name) == expected
    assert_same(everything(resumed(folder, **options)), whole)
    assert names(folder) == ['epoch_3.pth']
    assert not temporary_files(folder)


def test_the_rest_of_a_killed_write_is_removed(tmp_path):
    interrupted(tmp_path, 7)
    rest = tmp_path / '.epoch_2.pth.123.tmp'
    rest.write_bytes(b'half')
    resumed(tmp_path)
    assert not rest.exists()


def test_a_disk_that_is_full_stops_the_run_and_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    write = atomic.write_checkpoint
    monkeypatch.setattr(
        'selnext_mm.disk._wrong_size',
        lambda path, size: 'too short' if 'epoch_2' in path.name else None,
    )
    with pytest.raises(UserError) as caught:
        run(tmp_path)
    assert 'epoch_2.pth' in str(caught.value)
    assert f'Last good checkpoint: {tmp_path / "epoch_1.pth"}' in str(caught.value)
    assert (names(tmp_path), pointer(tmp_path)) == (['epoch_1.pth'], 'epoch_1.pth')
    assert write is atomic.write_checkpoint


def test_intermediate_ones_come_and_go(tmp_path):
    seen = []
    spies = [At(step, lambda runner: seen.append(names(tmp_path))) for step in (1, 2, 3, 4, 6)]
    run(tmp_path, hooks=spies, val=False, **hook(every_iters=1, interval=3, save_last=False))
    assert seen == [
        ['iter_1.pth'],
        ['iter_1.pth', 'iter_2.pth'],
        ['iter_2.pth', 'iter_3.pth'],
        ['iter_3.pth', 'iter_4.pth'],
        ['iter_5.pth', 'iter_6.pth'],
    ]
    assert names(tmp_path) == ['epoch_3.pth']


def test_minutes_count_from_the_last_checkpoint_of_any_kind(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 50))
    monkeypatch.setattr(
        'selnext_mm.engine.resume.checkpoint_hook.time.monotonic', lambda: next(clock)
    )
    saved = []
    write = SafeCheckpointHook._write

    def spy(self, runner, name, *args, **kwargs):
        saved.append(name)
        write(self, runner, name, *args, **kwargs)

    monkeypatch.setattr(SafeCheckpointHook, '_write', spy)
    run(tmp_path, val=False, epochs=2, **hook(every_minutes=2))
    # 50 s pass at every look at the clock, one look per iteration: the third sees 150 s.
    assert saved == ['iter_3.pth', 'epoch_1.pth', 'iter_8.pth', 'epoch_2.pth']


def test_intermediate_ones_need_a_loop_that_can_use_them(tmp_path):
    loop = dict(type='EpochBasedTrainLoop', max_epochs=1)
    run(tmp_path, train_cfg=loop, **hook(every_iters=2))
    assert names(tmp_path) == ['epoch_1.pth']
    (log,) = tmp_path.rglob('*.log')
    assert "type='ResumableEpochBasedTrainLoop'" in log.read_text()


def test_negative_limits_are_refused():
    with pytest.raises(ValueError, match='every_iters=-1'):
        SafeCheckpointHook(every_iters=-1)


class Rising(ToyMetric):
    """Better with every evaluation, or worse."""

    step = 1

    def compute_metrics(self, results):
        Rising.value += self.step
        return dict(acc=Rising.value)


def best(**options):
    Rising.value = 0.0
    return dict(
        train_cfg=dict(val_interval=1),
        val_evaluator=[Rising()],
        **hook(save_best='acc', max_keep_ckpts=2, **options),
    )


def test_the_best_replaces_the_former_best_after_it_was_written(tmp_path):
    run(tmp_path, **best())
    assert names(tmp_path) == ['best_acc_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_a_best_one_that_cannot_be_written_leaves_the_former(tmp_path, monkeypatch):
    monkeypatch.setattr(
        'selnext_mm.disk._wrong_size',
        lambda path, size: 'too short' if 'best_acc_epoch_2' in path.name else None,
    )
    with pytest.raises(UserError, match='best_acc_epoch_2'):
        run(tmp_path, **best())
    assert names(tmp_path) == ['best_acc_epoch_1.pth', 'epoch_1.pth', 'epoch_2.pth']
    monkeypatch.undo()
    # The evaluation is made up for; its score is the second of a new metric, better than 1.
    options = best()
    Rising.value = 5.0
    runner = resumed(tmp_path, **options)
    assert names(tmp_path) == ['best_acc_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth']
    assert runner.message_hub.get_info('best_score') == 7.0


class PerClass(ToyMetric):
    """As mmdet's metric with ``classwise``: the classes first."""

    def compute_metrics(self, results):
        return dict(coco_cat_precision=0.9, acc=0.5)


def test_the_metric_that_is_found_is_not_that_of_one_class(tmp_path):
    options = dict(best(), val_evaluator=[PerClass()], **hook(save_best='auto', rule='greater'))
    run(tmp_path, **options)
    assert [name for name in names(tmp_path) if 'best' in name] == ['best_acc_epoch_1.pth']


class CountRuns(ToyMetric):
    runs = 0

    def compute_metrics(self, results):
        CountRuns.runs += 1
        return super().compute_metrics(results)


@pytest.mark.parametrize(('step', 'expected'), [(9, 1), (10, 1), (11, 0), (13, 0)])
def test_an_evaluation_that_was_cut_off_is_made_up_for(tmp_path, monkeypatch, step, expected):
    """Due after 10 iterations; the kill is before its end, or after it."""
    options = dict(val_evaluator=[CountRuns()], **hook(every_iters=1))
    if step == 10:
        with monkeypatch.context() as patch:
            patch.setattr(CountRuns, 'compute_metrics', lambda self, results: kill(None))
            with pytest.raises(Killed):
                run(tmp_path, **options)
    else:
        interrupted(tmp_path, step, **options)
    before = CountRuns.runs
    resumed(tmp_path, **options)
    # One more is due after the last epoch.
    assert CountRuns.runs - before == expected + 1


@pytest.mark.parametrize(
    ('number', 'code'), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize('iters', [None, 12])
def test_told_to_stop(tmp_path, number, code, iters):
    whole = everything(run(tmp_path / 'whole', iters=iters))
    folder = tmp_path / 'parts'
    send = BeforeEnd(7, lambda runner: os.kill(os.getpid(), number))
    with pytest.raises(Stopped) as caught:
        run(folder, iters=iters, hooks=[send])
    assert caught.value.code == code
    assert find_newest(folder).iter == 7
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert_same(everything(resumed(folder, iters=iters)), whole)


def test_told_to_stop_during_the_evaluation(tmp_path, monkeypatch):
    whole = everything(run(tmp_path / 'whole'))
    process = ToyMetric.process

    def told(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        process(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(ToyMetric, 'process', told)
        with pytest.raises(Stopped):
            run(tmp_path / 'parts')
    assert find_newest(tmp_path / 'parts').iter == 10
    assert_same(everything(resumed(tmp_path / 'parts')), whole)


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal; a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures('interruptible')
def test_a_second_signal_is_not_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr('selnext_mm.engine.signals.INSIST_AFTER', 0.0)

    def twice(runner):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, hooks=[BeforeEnd(3, twice)])
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ('number', 'moment', 'step'),
    [
        (signal.SIGTERM, (), 7),
        (signal.SIGTERM, ('val',), 10),
        (signal.SIGTERM, ('test',), None),
        (signal.SIGUSR1, (), 7),
        (signal.SIGINT, (), 7),
    ],
)
def test_a_signal_to_the_workers_too(tmp_path, root, number, moment, step):
    """As torchrun, schedulers and terminals send it; nobody is left behind."""
    arguments = (tmp_path, '2', str(int(number)), *moment)
    result = subprocess.run(
        [sys.executable, root / 'tests/engine/toy_signalled.py', *arguments],
        env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == (130 if number == signal.SIGINT else 75), result.stderr[-2000:]
    assert 'Traceback' not in result.stderr
    newest = find_newest(tmp_path)
    assert (newest and newest.iter) == step


ORPHANED = """
import os, signal
from torch.utils.data import DataLoader
from selnext_mm.engine.signals import shield_workers

class Large(list):
    def __getitem__(self, index):
        return bytes(1_000_000)  # more than a pipe holds

loader = DataLoader(Large(range(9)), batch_size=None, num_workers=1)
shield_workers(loader)
batches = iter(loader)
next(batches)
print(batches._workers[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, 'sigtimedwait'), reason='Linux only')
def test_a_killed_process_leaves_no_worker_behind(root, tmp_path):
    # Into a file: a worker that is left would hold a pipe open.
    with open(tmp_path / 'pid', 'w') as file:
        environment = {**os.environ, 'PYTHONPATH': str(root)}
        subprocess.run([sys.executable, '-c', ORPHANED], env=environment, stdout=file, timeout=120)
    worker = int((tmp_path / 'pid').read_text())
    end = time.monotonic() + 30
    while alive(worker) and time.monotonic() < end:
        time.sleep(0.2)
    orphan = alive(worker)
    if orphan:
        os.kill(worker, signal.SIGKILL)
    assert not orphan


def alive(pid):
    """Is there such a process that is more than an entry nobody has asked for?"""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.usefixtures('interruptible')
def test_signals_are_given_back(tmp_path):
    run(tmp_path, val=False)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures('interruptible')
def test_signals_are_given_back_by_a_run_that_failed(tmp_path):
    with pytest.raises(Killed):
        run(tmp_path, hooks=[At(3, kill)])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_checkpoints_load_without_running_code(tmp_path):
    run(tmp_path)
    checkpoint = torch.load(tmp_path / 'epoch_3.pth', weights_only=True)
    assert checkpoint['resume_state']['validated'] is True
    assert checkpoint['meta']['run_id']


def test_what_another_tool_wrote_is_resumed_and_said(tmp_path):
    stock = dict(
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook')),
    )
    run(tmp_path, **stock)
    checkpoint = torch.load(tmp_path / 'epoch_2.pth', weights_only=True)
    checkpoint.pop('resume_state', None)
    torch.save(checkpoint, tmp_path / 'epoch_2.pth')
    assert resumed(tmp_path).epoch == 3
    (log,) = [p for p in tmp_path.rglob('*.log') if 'no random states' in p.read_text()]
    assert log


def test_resume_without_a_checkpoint_is_an_error(tmp_path):
    with pytest.raises(UserError, match='there is no checkpoint'):
        build(tmp_path, resume=True).train()


def test_the_best_file_of_another_run_stays(tmp_path):
    """Its checkpoint says where it is, and that it may go when there is a better one."""
    run(tmp_path / 'one', **best())
    other = tmp_path / 'one' / 'best_acc_epoch_3.pth'
    path = str(other.with_name('epoch_3.pth'))
    runner = build(tmp_path / 'two', epochs=5, load_from=path, resume=True, **best())
    Rising.value = 5.0
    runner.train()
    assert 'best_acc_epoch_5.pth' in names(tmp_path / 'two')
    assert len([name for name in names(tmp_path / 'two') if name.startswith('best_')]) == 1
    assert names(tmp_path / 'one') == ['best_acc_epoch_3.pth', 'epoch_2.pth', 'epoch_3.pth']


def test_a_moved_run_still_replaces_its_best(tmp_path):
    run(tmp_path / 'one', **best())
    (tmp_path / 'one').rename(tmp_path / 'two')
    options = best()
    Rising.value = 5.0
    resumed(tmp_path / 'two', epochs=4, **options)
    assert names(tmp_path / 'two') == ['best_acc_epoch_4.pth', 'epoch_3.pth', 'epoch_4.pth']


@pytest.mark.parametrize('place', ['precious', 'run/best_/../../precious', 'run/keep.txt'])
def test_a_hostile_checkpoint_removes_nothing(tmp_path, place):
    folder = tmp_path / 'run'
    run(folder, **best())
    for precious in (tmp_path / 'precious', folder):
        precious.mkdir(exist_ok=True)
        (precious / 'keep.txt').write_text('x')
    for path in folder.glob('epoch_*.pth'):
        checkpoint = torch.load(path, weights_only=True)
        info = checkpoint['message_hub']['runtime_info']
        info['best_ckpt'] = str(tmp_path / place)
        info['keep_ckpt_ids'] = ['/../../precious'] * 5
        info['intermediate_ckpts'] = ['/../../precious'] * 5
        atomic.write_checkpoint(checkpoint, path)
    (folder / 'best_').mkdir()
    (folder / 'epoch_').mkdir()
    (folder / 'iter_').mkdir()
    options = best(filename_tmpl='epoch_{}', every_iters=1)
    Rising.value = 5.0
    resumed(folder, epochs=4, **options)
    assert (tmp_path / 'precious' / 'keep.txt').exists()
    assert (folder / 'keep.txt').exists()


def test_files_of_an_earlier_run_are_not_those_that_another_one_counts(tmp_path):
    """Both folders have an epoch_1.pth; the resumed checkpoint lists that of its own."""
    limit = hook(max_keep_ckpts=2)
    run(tmp_path / 'one', epochs=2, val=False, **limit)
    run(tmp_path / 'two', epochs=1, val=False)
    path = str(tmp_path / 'one' / 'epoch_2.pth')
    build(tmp_path / 'two', epochs=4, val=False, resume=True, load_from=path, **limit).train()
    assert names(tmp_path / 'two') == ['epoch_1.pth', 'epoch_3.pth', 'epoch_4.pth']


def test_a_scheduler_that_insists_is_still_given_the_state(tmp_path, monkeypatch):
    """SIGUSR1 before the end of the time, then SIGTERM, while the last iteration runs."""
    monkeypatch.setattr('selnext_mm.engine.signals.INSIST_AFTER', 0.0)

    def both(runner):
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped) as caught:
        run(tmp_path, hooks=[BeforeEnd(3, both)])
    assert caught.value.code == 75
    assert find_newest(tmp_path).iter == 3


def test_told_to_stop_while_an_evaluation_is_made_up_for(tmp_path, monkeypatch, capfd):
    """The state is on the disk since before the resume, and the log says where."""
    process = ToyMetric.process

    def told(self, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        process(self, *args)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(ToyMetric, 'process', told)
            with pytest.raises(Stopped):
                (resumed if find_newest(tmp_path) else run)(tmp_path)
    log = ''.join(capfd.readouterr())
    assert 'nothing is saved' not in log
    assert log.count(f'last checkpoint: {tmp_path / "epoch_2.pth"}') == 2


def train_with_limit(folder, queue):
    torch.set_num_threads(1)  # the parent's threads are not there after a fork: it would wait

    def limit(runner):
        size = (folder / 'epoch_1.pth').stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))

    queue.put(call(lambda argv: run(folder, hooks=[At(7, limit)], val=False), []))


def test_a_file_size_limit_stops_the_run_and_leaves_the_last_checkpoint(tmp_path, capfd):
    """That of the kernel (ulimit -f), in a process of its own."""
    context = multiprocessing.get_context('fork')
    queue = context.SimpleQueue()
    process = context.Process(target=train_with_limit, args=(tmp_path, queue))
    process.start()
    process.join(120)
    process.kill()
    assert process.exitcode == 0
    assert queue.get() == 2
    error = capfd.readouterr().err
    assert f'error: {tmp_path / "epoch_2.pth"} could not be written: the file-size limit' in error
    assert f'Last good checkpoint: {tmp_path / "epoch_1.pth"}' in error
    assert (names(tmp_path), pointer(tmp_path)) == (['epoch_1.pth'], 'epoch_1.pth')
    assert not temporary_files(tmp_path)
    assert atomic.damage(tmp_path / 'epoch_1.pth') is None
