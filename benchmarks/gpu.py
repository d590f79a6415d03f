#!/usr/bin/env python3
"""All measurements of SELNeXt on a GPU in one call: benchmarks/gpu.sh.

    bash benchmarks/gpu.sh --out DIR --wheels WHEELS      # SELNEXT_MM_COCO names a COCO folder
    bash benchmarks/gpu.sh --out DIR --dry-run            # everything at toy size on the CPU
    python benchmarks/gpu.py --unpack DIR/gpu.json RESULTS

Steps run one after another, what matters most first, each in a process of its own and with a limit
of its own. One that fails or takes too long does not stop the others. After each step DIR has
gpu.json (state of all steps, all results), targets.md (tables) and gpu.log; cut off at any moment,
they hold what was done until then and say that they are partial. The last line says what ran and
what did not; the exit status is 0 if everything ran. --unpack takes the results apart again, for
benchmarks/latency.py --show and benchmarks/targets.py.
"""

import argparse
import faulthandler
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import _gpu_steps
from _gpu_steps import LIMITS, Step

PROGRAMS = ('gpu_kernels', 'latency', 'training', 'detector_training')
STACK = ('mmdet.models', 'mmpretrain.models')
# Seconds: what is kept for writing, and what a step needs at the least to be begun.
RESERVE, WORTHWHILE = 4, 12
DONE, FAILED, CUT, LEFT_OUT = 'done', 'failed', 'cut off', 'not run'
WAITING, RUNNING = 'not yet run', 'running'


@dataclass
class State:
    """What became of a step."""

    name: str
    status: str = WAITING
    reason: str = ''
    seconds: float = 0.0


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks/gpu.sh',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--out', type=Path, metavar='DIR', help='folder for the three files')
    add('--steps', nargs='+', choices=list(LIMITS), metavar='STEP', help=', '.join(LIMITS))
    add('--minutes', type=float, default=8.0, help='for everything (default: %(default)s)')
    add('--dry-run', action='store_true', help='at toy size on the CPU, with synthetic images')
    add('--coco', default=os.environ.get('SELNEXT_MM_COCO'), help='default: SELNEXT_MM_COCO')
    add('--commit', metavar='ID', help='of the code, where it is a copy without .git')
    add('--start', choices=['auto', 'fork', 'spawn'], default='auto', help=argparse.SUPPRESS)
    add('--elapsed', type=float, default=0.0, help=argparse.SUPPRESS)
    add('--unpack', nargs=2, type=Path, metavar=('FILE', 'DIR'), help='write its results to DIR')
    args = parser.parse_args(argv)
    if not args.unpack:
        if not args.out:
            parser.error('--out DIR is missing')
        detectors = {'detector_selnext', 'detector_convnext', 'resume'} & {*(args.steps or LIMITS)}
        if detectors and not args.dry_run and not args.coco:
            parser.error(
                'detectors are trained on real images: set SELNEXT_MM_COCO to a COCO folder, or '
                'name other --steps'
            )
    return args


def import_stack() -> None:
    """Import what the steps need, so that a forked process has it; errors are the steps' own."""
    for name in (*STACK, *PROGRAMS):
        try:
            importlib.import_module(name)
        except Exception:
            traceback.print_exc()


def touch_gpu() -> None:
    import torch

    torch.zeros(1, device='cuda').add_(1).item()


def pick_start(choice: str, toy: bool) -> str:
    """'fork', which saves importing everything for every step, if a GPU works after it."""
    if choice != 'auto':
        return choice
    if toy:
        return 'fork'
    process = multiprocessing.get_context('fork').Process(target=touch_gpu)
    process.start()
    process.join(60)
    if process.exitcode is None:
        process.kill()
    return 'fork' if process.exitcode == 0 else 'spawn'


def run_step(step: Step, result: Path, log: Path, limit_s: float) -> None:
    """In the step's process: run its program, everything it prints into ``log``."""
    os.setsid()  # so that what it starts can be ended with it
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    file = os.open(log, os.O_WRONLY | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    sys.stdout = os.fdopen(1, 'w', buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, 'w', buffering=1, closefd=False)
    faulthandler.dump_traceback_later(max(limit_s - 1, 0.5), file=sys.stderr)
    from selnext_mm.__main__ import call

    sys.argv = [f'benchmarks/{step.program}.py', *step.argv]
    # First, so that no option with many values takes it.
    argv = ['--json', str(result), *step.argv]
    status = call(importlib.import_module(step.program).main, argv)
    faulthandler.cancel_dump_traceback_later()
    sys.exit(status)


def last_line(log: Path, begin: int) -> str:
    with open(log, encoding='utf-8', errors='replace') as file:
        file.seek(begin)
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1][:300] if lines else 'it printed nothing'


class Call:
    """One call of the script: the steps, their states and what is written of them."""

    def __init__(self, args: argparse.Namespace, work: Path) -> None:
        from _report import command, now

        from selnext_mm.analysis.machine import versions

        self.args, self.work = args, work
        self.end = time.monotonic() + 60 * args.minutes - args.elapsed
        coco = str(work / 'shapes') if args.dry_run else str(args.coco)
        steps = _gpu_steps.plan(work, coco, args.dry_run)
        self.steps = [s for s in steps if not args.steps or s.name in args.steps]
        self.states = [State(step.name) for step in self.steps]
        self.head = {
            'title': 'SELNeXt on a GPU',
            'date': now(),
            'command': command(),
            'commit': args.commit or versions().get('commit'),
        }
        if args.dry_run:
            self.head['title'] += ': a dry run at toy size on a CPU, no measurement'
        self.log = args.out / 'gpu.log'
        self.log.write_text('')
        self.running: multiprocessing.process.BaseProcess | None = None

    def run(self, start: str) -> None:
        """All steps; writes the files after each."""
        context = multiprocessing.get_context(start)
        for step, state in zip(self.steps, self.states, strict=True):
            left = self.end - time.monotonic() - RESERVE
            needed = min(WORTHWHILE, step.limit_s)
            if left < needed:
                state.status = LEFT_OUT
                state.reason = f'{max(left, 0):.0f} s were left, {needed:.0f} are needed'
                continue
            state.status = RUNNING
            self.write()
            self.do(context, step, state, min(step.limit_s, left))
            print(f'{state.name}: {state.status}, {state.seconds:.0f} s', flush=True)
            self.write()

    def do(self, context, step: Step, state: State, limit_s: float) -> None:
        """Run ``step`` in a process of its own; set ``state``."""
        with open(self.log, 'a', encoding='utf-8') as file:
            file.write(f'\n===== {step.name}\n')
        begin, started = self.log.stat().st_size, time.monotonic()
        arguments = (step, self.path(step.name), self.log, limit_s)
        self.running = context.Process(target=run_step, args=arguments)
        self.running.start()
        self.running.join(limit_s)
        status = self.running.exitcode
        self.stop()
        state.seconds = round(time.monotonic() - started, 1)
        state.status = {None: CUT, 0: DONE}.get(status, FAILED)
        if state.status == CUT:
            state.reason = f'at its limit of {limit_s:.0f} s'
        elif state.status == FAILED:
            state.reason = last_line(self.log, begin)

    def stop(self) -> None:
        """End the running step with all that it has started."""
        process, self.running = self.running, None
        if process is None or process.pid is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join(10)

    def path(self, name: str) -> Path:
        return self.work / f'{name}.json'

    @property
    def complete(self) -> bool:
        return all(state.status == DONE for state in self.states)

    def close(self) -> None:
        """After the last step, or in the middle of one."""
        self.stop()
        for state in self.states:
            if state.status == RUNNING:
                state.status, state.reason = CUT, 'the call was ended while it ran'
        self.write()
        print(self.last_words(), flush=True)

    def write(self) -> None:
        """gpu.json and targets.md as of now."""
        from _gpu_report import page

        from selnext_mm.disk import write_json, write_text

        names = [state.name for state in self.states if self.path(state.name).is_file()]
        content = {
            **self.head,
            'complete': self.complete,
            'steps': [asdict(state) for state in self.states],
            'results': {
                name: json.loads(self.path(name).read_text(encoding='utf-8')) for name in names
            },
        }
        write_json(self.args.out / 'gpu.json', content)
        write_text(self.args.out / 'targets.md', page(content))

    def last_words(self) -> str:
        """One line: what ran and what did not."""
        parts = []
        for status in (DONE, FAILED, CUT, LEFT_OUT, WAITING):
            there = [s for s in self.states if s.status == status]
            names = [f'{s.name} ({s.reason})' if s.reason else s.name for s in there]
            parts += [f'{status}: {", ".join(names)}'] if names else []
        return '; '.join(parts)


def unpack(file: Path, folder: Path) -> int:
    from _report import read_json

    from selnext_mm.disk import write_json

    results = read_json(file, ('steps', 'results'), 'benchmarks/gpu.sh')['results']
    folder.mkdir(parents=True, exist_ok=True)
    for name, result in results.items():
        write_json(folder / f'{name}.json', result)
    print(f'{len(results)} results in {folder}')
    return 0


def prepare(args: argparse.Namespace) -> None:
    """What has to be set before torch is imported, and known before anything is begun.

    Raises:
        UserError: without a GPU.
    """
    # Asking for a GPU must not begin to use it: a forked process could not use it then.
    os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')
    if args.dry_run:
        os.environ.update(CUDA_VISIBLE_DEVICES='', TRITON_INTERPRET='1')
    import torch

    from selnext_mm.errors import UserError

    if not args.dry_run and not torch.cuda.is_available():
        raise UserError(
            f'torch {torch.__version__} sees no GPU here; --dry-run does everything at toy size'
        )
    args.out.mkdir(parents=True, exist_ok=True)


def make_images(folder: Path) -> None:
    """Synthetic images for a dry run."""
    from selnext_mm.cli.make_shapes import main

    main([str(folder), '--train', '8', '--val', '2', '--size', '64'])


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.unpack:
        return unpack(*args.unpack)
    prepare(args)
    work = Path(tempfile.mkdtemp(prefix='selnext_gpu_'))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    one = None
    try:
        one = Call(args, work)
        if args.dry_run:
            make_images(work / 'shapes')
        import_stack()
        start = pick_start(args.start, args.dry_run)
        print(f'steps are started by {start}', flush=True)
        one.run(start)
    finally:
        if one:
            one.close()
        shutil.rmtree(work, ignore_errors=True)
    return 0 if one.complete else 1


if __name__ == '__main__':
    from selnext_mm.__main__ import call

    sys.exit(call(main, sys.argv[1:]))
