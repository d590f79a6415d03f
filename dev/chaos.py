#!/usr/bin/env python3
"""Train the small demo, kill it (-9) again and again, and see what is lost.

usage: dev/chaos.py [--kills 100] [--processes 2] [--seed 0] [--work-dir DIR] [--out FILE.json]

Each life is a process of its own, forked from one that has imported everything. A quarter of
the kills come at a random time after the start, a quarter after the first iteration, and half
after a checkpoint began to be written. With ``--processes 2`` one of the two is killed, and the
other soon after it, unless it has ended by itself. When a training reaches its end, its weights are
compared with those of a training that nobody interrupted, and the next one begins. Exit status 0 if
nothing was lost beyond the interval of the checkpoints, no damaged checkpoint was met and all final
weights are equal, bit for bit.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from multiprocessing import RawValue
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')

CONFIG = 'mask_rcnn/selnext_atto_shapes.py'
VAL_IMAGES, SIDE, BATCH = 4, 96, 2
START, TRAINING = 0.25, 0.5  # below: a kill is timed from the start, from an iteration


@dataclass
class Report:
    kills: int = 0
    kills_during_a_write: int = 0
    kills_before_the_first_iteration: int = 0
    starts_from_scratch: int = 0
    resumes: int = 0
    iterations_trained: int = 0
    lost_iterations: list = field(default_factory=list)  # by kills of lives that had trained
    lost_before_the_first_iteration: int = 0  # by the others, at most; has to be 0
    temporary_files_found: int = 0
    damaged_checkpoints: list = field(default_factory=list)
    failed_lives: list = field(default_factory=list)
    trainings_finished: int = 0
    trainings_equal: int = 0

    def passed(self, interval: int) -> bool:
        fine = not self.damaged_checkpoints and not self.failed_lives
        equal = self.trainings_finished == self.trainings_equal > 0
        nothing_else = not self.lost_before_the_first_iteration
        return fine and equal and nothing_else and max(self.lost_iterations, default=0) <= interval

    def table(self, interval: int, seconds: float) -> str:
        lost = self.lost_iterations or [0]
        rows = [
            ('kills (-9)', self.kills),
            ('... during the write of a checkpoint', self.kills_during_a_write),
            ('... before the first iteration', self.kills_before_the_first_iteration),
            ('resumes', self.resumes),
            ('starts from scratch (no checkpoint yet)', self.starts_from_scratch),
            ('iterations trained', self.iterations_trained),
            (f'iterations lost by a kill, at most (interval {interval})', max(lost)),
            ('... mean of the kills after an iteration', f'{sum(lost) / len(lost):.1f}'),
            ('unfinished checkpoints found and removed', self.temporary_files_found),
            ('damaged checkpoints met', len(self.damaged_checkpoints)),
            ('lives that ended with an error', len(self.failed_lives)),
            (
                'trainings whose final weights equal the uninterrupted one',
                f'{self.trainings_equal} of {self.trainings_finished}',
            ),
            ('minutes', f'{seconds / 60:.1f}'),
        ]
        return '\n'.join(['| | |', '|---|---|', *(f'| {name} | {value} |' for name, value in rows)])


def unfinished(folder: Path) -> list[Path]:
    """Checkpoints whose write has begun and not ended; not the small files beside them."""
    from selnext_mm.disk import temporary_files

    return [path for path in temporary_files(folder) if '.pth.' in path.name]


class Chaos:
    """A training that is run in lives, and what is counted about them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.report = args, Report()
        self.random = random.Random(args.seed)
        self.root = Path(args.work_dir)
        self.data = self.root / 'data'
        self.reached = RawValue('i', 0)  # last iteration whose update is done
        self.life = args.life or 0.0  # seconds
        self.training = 0.0  # seconds of a life from the end of its first iteration

    def train(self, folder: Path, rank: int) -> int:
        """One process of a life: train until the end or until the kill."""
        from selnext_mm.__main__ import call
        from selnext_mm.cli.train import main
        from selnext_mm.engine import FiniteLossHook

        after_train_iter = FiniteLossHook.after_train_iter

        def count(hook, runner, *rest, **named):
            if rank == 0:
                self.reached.value = runner.iter + 1
            after_train_iter(hook, runner, *rest, **named)

        FiniteLossHook.after_train_iter = count
        epochs = self.args.epochs
        options = [
            f'train_cfg.max_epochs={epochs}',
            f'train_cfg.val_interval={epochs}',
            f'param_scheduler.1.end={epochs}',
            f'train_dataloader.batch_size={BATCH}',
            *(f'{kind}_dataloader.num_workers=0' for kind in ('train', 'val', 'test')),
            f'default_hooks.checkpoint.every_iters={self.args.every_iters}',
            'default_hooks.logger.interval=1000',
            # A smaller backbone, few regions, and images that are not enlarged as the recipe does.
            'model.backbone.arch=yocto',
            'model.neck.in_channels=[16,32,64,128]',
            'model.train_cfg.rcnn.sampler.num=8',
            f'train_dataloader.dataset.pipeline.3.scale=({SIDE}, {SIDE})',
            f'val_dataloader.dataset.pipeline.1.scale=({SIDE}, {SIDE})',
        ]
        arguments = [CONFIG, '--work-dir', str(folder), '--data-root', str(self.data)]
        if self.args.processes > 1:
            arguments += ['--launcher', 'pytorch']
        return call(main, [*arguments, '--resume', 'if-any', '--cfg-options', *options])

    def start(self, folder: Path) -> list[int]:
        """Fork the processes of a life; return their ids."""
        folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        return [self.fork(folder, rank, port) for rank in range(self.args.processes)]

    def fork(self, folder: Path, rank: int, port: int) -> int:
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.setsid()
            log = os.open(folder / 'lives.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            place = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=self.args.processes)
            place |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=port, GLOO_SOCKET_IFNAME='lo')
            if self.args.processes > 1:
                os.environ.update({name: str(value) for name, value in place.items()})
            code = self.train(folder, rank)
        except SystemExit as stopped:
            code = stopped.code
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self, children: list[int], until) -> int | None:
        """Highest exit status of the processes, or None once ``until()`` is true while one lives.

        Those that have ended are taken from ``children``.
        """
        statuses = []
        while True:
            for child in tuple(children):
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    children.remove(child)
                    statuses.append(abs(os.waitstatus_to_exitcode(status)))
            if not children:
                return max(statuses)
            if until():
                return None
            time.sleep(0.001)

    def kill(self, children: list[int]) -> None:
        """Kill one of the processes, and the rest within a second if it does not end itself."""
        os.kill(self.random.choice(children), signal.SIGKILL)
        end = time.monotonic() + self.random.uniform(0, 1)
        if self.wait(children, lambda: time.monotonic() > end) is None:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)

    def moment(self, folder: Path):
        """A function of time that says when to kill."""
        begun, before, old = time.monotonic(), self.reached.value, set(unfinished(folder))
        kind = self.random.random()
        if kind < START:
            end = begun + self.random.uniform(0, self.life)
            return lambda: time.monotonic() > end
        # Not counted from the start: how much of a life that takes depends on the machine.
        delay = self.random.uniform(0, self.training if kind < TRAINING else 0.3)
        seen = []

        def passed() -> bool:
            trained = self.reached.value > before
            if not seen and (trained if kind < TRAINING else set(unfinished(folder)) - old):
                seen.append(time.monotonic() + delay)
            return bool(seen) and time.monotonic() > seen[0]

        return passed

    def live(self, folder: Path) -> bool:
        """One life; True if the training reached its end in it."""
        from selnext_mm.engine.resume.lineage import find_newest

        report = self.report
        newest = find_newest(folder) if folder.is_dir() else None
        before = newest.iter if newest else 0
        report.temporary_files_found += len(unfinished(folder))
        report.damaged_checkpoints += [str(item) for item in newest.skipped] if newest else []
        self.count_start(newest)
        self.reached.value = before
        old = set(unfinished(folder))
        children = self.start(folder)
        status = self.wait(children, self.moment(folder))
        if status is None:
            self.kill(children)
            report.kills += 1
            report.kills_during_a_write += bool(set(unfinished(folder)) - old)
            now = find_newest(folder)
            lost = self.reached.value - (now.iter if now else 0)
            if self.reached.value > before:
                report.lost_iterations.append(lost)
            else:
                report.kills_before_the_first_iteration += 1
                report.lost_before_the_first_iteration = max(
                    report.lost_before_the_first_iteration, lost
                )
        elif status:
            report.failed_lives.append(f'{folder}: status {status}')
        report.iterations_trained += self.reached.value - before
        return status is not None

    def count_start(self, newest) -> None:
        if newest:
            self.report.resumes += 1
        else:
            self.report.starts_from_scratch += 1

    def weights(self, folder: Path) -> dict:
        import torch

        path = folder / f'epoch_{self.args.epochs}.pth'
        return torch.load(path, map_location='cpu', weights_only=True)['state_dict']

    def compare(self, folder: Path) -> None:
        import torch

        one, other = self.weights(self.root / 'whole'), self.weights(folder)
        self.report.trainings_finished += 1
        equal = one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)
        self.report.trainings_equal += equal

    def run(self) -> Report:
        from selnext_mm.engine.resume.lineage import find_newest

        whole = self.root / 'whole'
        begun = time.monotonic()
        children = self.start(whole)
        status = self.wait(children, lambda: self.reached.value > 0)
        first = time.monotonic()
        status = self.wait(children, lambda: False) if status is None else status
        # A slow or crowded machine needs longer to its first checkpoint.
        self.life = self.args.life or time.monotonic() - begun
        self.training = time.monotonic() - first
        if status:
            sys.exit(f'the uninterrupted training ended with status {status}: {whole}/lives.txt')
        print(f'uninterrupted: {self.reached.value} iterations', flush=True)
        number = 0
        while True:
            folder = self.root / f'training_{number}'
            while not (ended := self.live(folder)) and self.report.kills < self.args.kills:
                pass
            if not ended:  # enough kills: this one may finish
                self.count_start(find_newest(folder))
                status = self.wait(self.start(folder), lambda: False)
                if status:
                    self.report.failed_lives.append(f'{folder}: status {status}')
            if self.report.failed_lives:
                return self.report
            self.compare(folder)
            state = (
                f'{self.report.kills} kills, {self.report.trainings_equal} of {number + 1} equal'
            )
            print(f'training {number}: {state}', flush=True)
            if self.report.kills >= self.args.kills:
                return self.report
            shutil.rmtree(folder)
            number += 1


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--processes', type=int, default=1, help='of each training; default: 1')
    parser.add_argument('--seed', type=int, default=0, help='of the moments; default: 0')
    parser.add_argument('--epochs', type=int, default=4, help='default: 4')
    parser.add_argument('--images', type=int, default=24, help='in batches of 2; default: 24')
    parser.add_argument('--every-iters', type=int, default=5, help='checkpoint interval')
    parser.add_argument('--life', type=float, help='longest, s; default: that of an unharmed one')
    parser.add_argument('--work-dir', default='work_dirs/chaos', help='is emptied first')
    parser.add_argument('--out', help='write the report to this JSON file')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    root = Path(args.work_dir)
    if root.exists() and not (root / 'data' / 'annotations').is_dir() and any(root.iterdir()):
        sys.exit(f'error: {root} is not empty and not of a former call; name another --work-dir')
    shutil.rmtree(root, ignore_errors=True)
    import selnext_mm  # isort: skip - its work-arounds have to come before mmdet
    import mmcv.ops
    import mmdet.datasets
    import mmdet.models
    import torch

    from selnext_mm.analysis.machine import machine
    from selnext_mm.cli.make_shapes import main as make_shapes

    torch.set_num_threads(1)
    numbers = ('--train', str(args.images), '--val', str(VAL_IMAGES), '--size', str(SIDE))
    make_shapes([str(root / 'data'), *numbers])
    started = time.time()
    report = Chaos(args).run()
    print(report.table(args.every_iters, time.time() - started))
    if args.out:
        versions = {m.__name__: m.__version__ for m in (selnext_mm, torch, mmcv, mmdet)}
        command = ' '.join(['dev/chaos.py', *sys.argv[1:]])
        content = dict(command=command, machine=machine(), versions=versions, **asdict(report))
        Path(args.out).write_text(json.dumps(content, indent=1) + '\n', encoding='utf-8')
    for text in (*report.failed_lives, *report.damaged_checkpoints):
        print(text, file=sys.stderr)
    return 0 if report.passed(args.every_iters) else 1


if __name__ == '__main__':
    sys.exit(main())
