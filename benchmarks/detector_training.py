#!/usr/bin/env python3
r"""Train a detector for a few iterations as tools/train.py does; time them, and what they need.

    python benchmarks/detector_training.py mask_rcnn/selnext_t_3x_coco.py --data-root COCO \
        --work-dir DIR --json FILE

Precision, augmentation and optimiser are the config's (fp16 on a GPU), the images are taken again
when they are used up, nothing is evaluated. A checkpoint is written after half of the iterations;
from there the same run goes on with

    ... --resume DIR/iter_20.pth --against FILE

into a folder of its own, and its losses are held against those of the first run: the difference
is what resuming changes, beside the order of sums on a GPU.
"""

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch
from _report import check_writable, command, now, read_json
from _session import natural, positive

from selnext_mm.__main__ import call
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.cli.arguments import Options
from selnext_mm.config.load import load_config
from selnext_mm.disk import write_json
from selnext_mm.engine.session import Session
from selnext_mm.errors import UserError
from selnext_mm.report.work_dir import read_rows

# The first iterations choose algorithms and fill the workers' queues.
UNTIMED = 0.25


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='benchmarks/detector_training.py',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('config', help='file, or a name under configs/')
    add('--data-root', required=True, metavar='DIR', help='COCO folder')
    add('--work-dir', required=True, metavar='DIR', help='new folder for checkpoints and log')
    add('--iterations', type=positive, default=40, help='in all (default: 40)')
    add('--batch', type=positive, default=16, help='images (default: 16)')
    add('--workers', type=natural, default=8, help='that load images (default: 8)')
    add(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='as of tools/train.py',
    )
    add('--resume', metavar='FILE', help='checkpoint to go on from')
    add('--against', metavar='FILE', help='result of the run that --resume belongs to')
    add('--json', metavar='FILE', help='write everything to this file, too')
    return parser.parse_args(argv)


def session(args: argparse.Namespace) -> Session:
    """The config's session with this batch and length, every iteration in the log."""
    cfg = load_config(args.config, args.cfg_options)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=args.iterations)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    loader = cfg.train_dataloader
    loader.batch_size, loader.num_workers = args.batch, args.workers
    loader.persistent_workers = args.workers > 0
    # Batches are full also where there are fewer images, as the images per second suppose.
    loader.sampler = dict(type='InfiniteSampler', shuffle=True)
    half = max(1, args.iterations // 2)
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=half)
    cfg.default_hooks.logger.interval = 1
    cfg.log_processor = dict(type='LogProcessor', window_size=1, by_epoch=False)
    return Session(cfg, data_root=args.data_root, work_dir=args.work_dir)


def scalars(work_dir: str) -> list[dict]:
    """The rows of the newest log in ``work_dir`` that have a loss.

    Raises:
        UserError: if there are none.
    """
    logs = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    rows = [row for row in read_rows(logs[-1])[0] if 'loss' in row] if logs else []
    if not rows:
        raise UserError(f'{work_dir} has no log of a training; it stopped before its first step')
    return rows


def summary(rows: list[dict], batch: int) -> dict:
    """Times in seconds of the iterations after the first ones, peak memory, losses."""
    timed = rows[math.ceil(UNTIMED * len(rows)) :] or rows
    step = statistics.median(row['time'] for row in timed)
    memory = [row['memory'] for row in rows if 'memory' in row]
    return {
        'step_s': step,
        'data_s': statistics.median(row['data_time'] for row in timed),
        'images_per_s': batch / step,
        'peak_mib': max(memory) if memory else None,
        'first': rows[0]['iter'],
        'losses': [row['loss'] for row in rows],
        'times': [row['time'] for row in rows],
    }


def compare_losses(found: dict, against: dict) -> dict:
    """Relative differences of the losses to those of the same iterations of the first run.

    Raises:
        UserError: if the first run has no such iteration.
    """
    begin = found['first'] - against['first']
    earlier = against['losses'][begin : begin + len(found['losses'])] if begin >= 0 else []
    if not earlier:
        raise UserError(
            f'--against: that run has no iteration {found["first"]}; name the result of the run '
            'that --resume belongs to'
        )
    pairs = list(zip(found['losses'], earlier, strict=False))
    differences = [abs(a - b) / abs(b) for a, b in pairs]
    return {'first_difference': differences[0], 'largest_difference': max(differences)}


def text(result: dict) -> str:
    run = result['run']
    memory = '' if run['peak_mib'] is None else f', {run["peak_mib"]} MiB at most'
    line = (
        f'{result["setting"]["config"]}: {run["step_s"] * 1e3:.0f} ms per step of '
        f'{result["setting"]["batch"]} images ({run["data_s"] * 1e3:.0f} ms of it waiting for '
        f'data), {run["images_per_s"]:.1f} images/s{memory}; loss {run["losses"][0]:.3f} to '
        f'{run["losses"][-1]:.3f} in iterations {run["first"]} to '
        f'{run["first"] + len(run["losses"]) - 1}'
    )
    if 'resumed' in result:
        line += (
            f'; resumed: the first loss differs by {result["resumed"]["first_difference"]:.1e}, '
            f'the largest difference is {result["resumed"]["largest_difference"]:.1e}'
        )
    return line


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    if bool(args.resume) != bool(args.against):
        raise UserError('--resume and --against belong together')
    if args.json:
        check_writable(args.json)
    against = read_json(args.against, ('run',), 'this program')['run'] if args.against else None
    started = now()
    session(args).train(resume=args.resume)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    result = {
        'title': 'A training of a detector',
        'date': started,
        'command': command(),
        'machine': machine(device),
        'versions': versions(),
        'setting': {
            **{name: getattr(args, name) for name in ('config', 'batch', 'iterations', 'workers')},
            'device': device.type,
        },
        'run': summary(scalars(args.work_dir), args.batch),
    }
    if against:
        result['resumed'] = compare_losses(result['run'], against)
    print(text(result))
    if args.json:
        write_json(args.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(call(main, sys.argv[1:]))
