#!/usr/bin/env python3
r"""Where the time of a detector goes: a training iteration and a prediction, part by part.

    python benchmarks/detector_profile.py mask_rcnn/selnext_t_3x_coco.py --data-root COCO \
        --work-dir DIR

Trains as tools/train.py does, with the config's recipe and 2 images at a time, and profiles the
last iterations; then predicts on images of the test set one by one, all scores allowed. Prints
for each part of the model the time in operators (a gradient belongs to the part whose operator it
is of), the time in Python between them and the number of operators, and the operators outside the
backbone that take longest. Profiling itself costs some microseconds for each operator.
"""

import argparse
import functools
import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from _report import check_writable, command, now
from _session import natural, positive
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from torch import nn
from torch.autograd.profiler_util import FunctionEvent

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.cli.arguments import Options
from selnext_mm.config.load import load_config
from selnext_mm.disk import write_json
from selnext_mm.engine.session import Session
from selnext_mm.errors import UserError

MARK = 'part: '
# What is called in one pass, by the path of the object that has the method.
METHODS = (
    'data_preprocessor.forward',
    'backbone.forward',
    'neck.forward',
    'rpn_head.forward',
    'rpn_head.loss_by_feat',
    'rpn_head.predict_by_feat',
    'roi_head.bbox_assigner.assign',
    'roi_head.bbox_sampler.sample',
    'roi_head.bbox_roi_extractor.forward',
    'roi_head.bbox_head.forward',
    'roi_head.bbox_head.loss_and_target',
    'roi_head.bbox_head.predict_by_feat',
    'roi_head.mask_roi_extractor.forward',
    'roi_head.mask_head.forward',
    'roi_head.mask_head.loss_and_target',
    'roi_head.mask_head.predict_by_feat',
    'bbox_head.forward',
    'bbox_head.loss_by_feat',
    'bbox_head.predict_by_feat',
)
OPTIMIZER = ('step', 'zero_grad')
ELSEWHERE = 'elsewhere'


def marked(function: Callable, name: str) -> Callable:
    """``function`` as a range of the profile."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with torch.profiler.record_function(MARK + name):
            return function(*args, **kwargs)

    return run


def mark_parts(model: nn.Module, optimizer: Any = None) -> list[str]:
    """Make the methods of :data:`METHODS` ranges of the profile; returns the names of those found.

    A name stands for all objects of a list (the stages of a cascade).
    """
    found = []
    for name in METHODS:
        *path, method = name.split('.')
        owners: list = [model]
        for step in path:
            owners = [getattr(owner, step, None) for owner in owners]
            lists = (nn.ModuleList, list)
            owners = [o for one in owners for o in (one if isinstance(one, lists) else [one])]
        owners = [owner for owner in owners if hasattr(owner, method)]
        for owner in owners:
            setattr(owner, method, marked(getattr(owner, method), name))
        if owners:
            found.append(name)
    for name in OPTIMIZER if optimizer is not None else ():
        setattr(optimizer, name, marked(getattr(optimizer, name), f'optimizer.{name}'))
        found.append(f'optimizer.{name}')
    return found


def _ancestors(event: FunctionEvent) -> Iterable[FunctionEvent]:
    at: FunctionEvent | None = event
    while at is not None:
        yield at
        at = at.cpu_parent


def part_of(event: FunctionEvent, forward: dict[int, str]) -> tuple[str, bool]:
    """(part, whether it is a gradient) of an event.

    ``forward`` has the part of each operator that autograd knows, by its sequence number.
    """
    for at in _ancestors(event):
        if at.name.startswith(MARK):
            return at.name[len(MARK) :], False
        if at.name.startswith('autograd::engine::evaluate_function'):
            return forward.get(at.sequence_nr, ELSEWHERE), True
    return ELSEWHERE, False


def by_part(events: list[FunctionEvent], passes: int) -> tuple[list[dict], list[dict]]:
    """(rows of parts, rows of operators) with times in ms per pass, the longest first."""
    forward: dict[int, str] = {}
    for event in sorted(events, key=lambda e: e.time_range.start):
        part, gradient = part_of(event, {})
        if not gradient and event.sequence_nr >= 0:
            forward[event.sequence_nr] = part
    parts: dict[str, dict] = defaultdict(lambda: dict(forward=0.0, backward=0.0, python=0.0, ops=0))
    operators: dict[tuple[str, str], dict] = defaultdict(lambda: dict(ms=0.0, calls=0))
    for event in events:
        part, gradient = part_of(event, forward)
        ms = event.self_cpu_time_total / 1e3 / passes
        row = parts[part]
        if event.name.startswith(MARK):
            row['python'] += ms
            continue
        row['backward' if gradient else 'forward'] += ms
        row['ops'] += 1 / passes
        name = event.name.removeprefix('autograd::engine::evaluate_function: ')
        operator = operators[part, name]
        operator['ms'] += ms
        operator['calls'] += 1 / passes
    rows = [dict(part=part, **row) for part, row in parts.items()]
    rows.sort(key=lambda r: -(r['forward'] + r['backward'] + r['python']))
    longest = [dict(part=part, operator=name, **row) for (part, name), row in operators.items()]
    longest.sort(key=lambda r: -r['ms'])
    return rows, longest


class Recorder:
    """A profile of the passes between :meth:`start` and :meth:`stop`."""

    def __init__(self) -> None:
        self.profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    def start(self) -> None:
        self.profile.start()

    def stop(self, passes: int) -> dict:
        self.profile.stop()
        parts, operators = by_part(list(self.profile.events()), passes)
        outside = [row for row in operators if not row['part'].startswith('backbone')]
        return {'passes': passes, 'parts': parts, 'operators': outside}


RESULTS: dict[str, dict] = {}  # what the hook has measured in this process


@HOOKS.register_module()
class ProfileHook(Hook):
    """Profiles the last ``passes`` training iterations."""

    priority = 'VERY_LOW'

    def __init__(self, passes: int) -> None:
        self.passes = passes
        self.recorder: Recorder | None = None

    def before_train(self, runner) -> None:
        mark_parts(runner.model, runner.optim_wrapper.optimizer)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if runner.iter == runner.max_iters - self.passes:
            self.recorder = Recorder()
            self.recorder.start()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if self.recorder is not None and runner.iter == runner.max_iters - 1:
            RESULTS['training'] = self.recorder.stop(self.passes)

    @torch.inference_mode()
    def after_train(self, runner) -> None:
        model = runner.model.eval()
        loader = runner.build_dataloader(runner.cfg.test_dataloader)
        first, *batches = itertools.islice(loader, self.passes + 1)
        if not batches:
            raise UserError('the test set has one image; the first is not timed, give two or more')
        model.test_step(first)
        recorder = Recorder()
        recorder.start()
        for batch in batches:
            model.test_step(batch)
        RESULTS['prediction'] = recorder.stop(len(batches))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks/detector_profile.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('config', help='file, or a name under configs/')
    add('--data-root', required=True, metavar='DIR', help='COCO folder')
    add('--work-dir', required=True, metavar='DIR', help='new folder for the log')
    add('--warmup', type=natural, default=2, help='iterations before (default: 2)')
    add('--passes', type=positive, default=3, help='that are profiled (default: 3)')
    add('--batch', type=positive, default=2, help='images of a training iteration (default: 2)')
    add('--top', type=positive, default=10, help='operators that are shown (default: 10)')
    add('--cfg-options', nargs='+', action=Options, metavar='KEY=VALUE', help='of the config')
    add('--json', metavar='FILE', help='write everything to this file, too')
    return parser.parse_args(argv)


def session(args: argparse.Namespace) -> Session:
    """The config's session, a few iterations long, without checkpoints and evaluations."""
    cfg = load_config(args.config, args.cfg_options)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=args.warmup + args.passes)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False
    cfg.train_dataloader.batch_size, cfg.test_dataloader.batch_size = args.batch, 1
    test = cfg.model.test_cfg
    test.get('rcnn', test).score_thr = 0.0
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=-1)
    cfg.log_processor = dict(type='LogProcessor', window_size=1, by_epoch=False)
    hooks = [*(cfg.get('custom_hooks') or []), dict(type='ProfileHook', passes=args.passes)]
    cfg.custom_hooks = hooks
    return Session(cfg, data_root=args.data_root, work_dir=args.work_dir)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first row is the header."""
    header, *lines = rows
    return '\n'.join(f'| {" | ".join(r)} |' for r in (header, ['---'] * len(header), *lines))


def text(result: dict) -> str:
    lines = []
    for name, profile in result['profiles'].items():
        total = sum(r['forward'] + r['backward'] + r['python'] for r in profile['parts'])
        lines += [f'### {name}: {total:.0f} ms, {profile["passes"]} passes', '']
        header = ['part', 'forward ms', 'backward ms', 'Python ms', 'operators']
        cells = [
            [r['part'], *(f'{r[k]:.1f}' for k in ('forward', 'backward', 'python', 'ops'))]
            for r in profile['parts']
        ]
        lines += [table([header, *cells]), '', 'Longest outside the backbone:', '']
        header = ['part', 'operator', 'ms', 'calls']
        cells = [
            [r['part'], f'`{r["operator"]}`', f'{r["ms"]:.1f}', f'{r["calls"]:.0f}']
            for r in profile['operators'][: result['setting']['top']]
        ]
        lines += [table([header, *cells]), '']
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if args.json:
        check_writable(args.json)
    started = now()
    RESULTS.clear()
    session(args).train()
    result = {
        'title': 'Profile of a detector',
        'date': started,
        'command': command(),
        'machine': machine(torch.device('cpu')),
        'versions': versions(),
        'setting': {k: getattr(args, k) for k in ('config', 'batch', 'warmup', 'passes', 'top')},
        'profiles': dict(RESULTS),
    }
    print(text(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
