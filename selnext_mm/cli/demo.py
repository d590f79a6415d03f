"""``selnext-mm demo``: data, training, evaluation and images in one go."""

import argparse
import json
import shlex
import sys
import time
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.config_files import config_root, find_config
from selnext_mm.disk import write_text
from selnext_mm.engine.distributed.processes import run_command
from selnext_mm.errors import STOPPED, UserError

CONFIG = 'mask_rcnn/selnext_atto_shapes.py'
MARKER = 'demo.json'  # in the work dir: what is trained there, and whether that is finished
POINTER = 'last_checkpoint'
INTERRUPTED = (STOPPED, 130, 143)  # by SIGTERM or Ctrl-C, with or without a saved state
AGAIN = 'remove the folder to train again'

CLOSING = """
================================ demo finished ================================
box mAP {bbox:.3f}, mask mAP {segm:.3f} on {val} held-out images ({time})

  images        {panel}
  weights       {checkpoint}
  results       {results} (and .bbox.json, .segm.json: COCO format)
  data          {data}

What to try next
  the cascade   selnext-mm train cascade_mask_rcnn/selnext_atto_shapes.py
  COCO          selnext-mm train mask_rcnn/selnext_t_3x_coco.py --data-root DIR
  your data     the same line with your COCO-format DIR; README.md, "Your own data"
  your project  custom_imports = dict(imports=['selnext_mm']), backbone type 'SELNeXt'
==============================================================================="""


def run(command: str, *arguments: str) -> None:
    """Run ``selnext-mm COMMAND``; show it as a user would type it."""
    print(f'\n$ selnext-mm {command} {shlex.join(arguments)}', flush=True)
    code = run_command(command, *arguments)
    if code:
        # The step has already reported the reason.
        again = '; the same command goes on' if code in INTERRUPTED else ''
        print(f'the demo stopped in the step "selnext-mm {command}"{again}', file=sys.stderr)
        raise SystemExit(code)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='selnext-mm demo',
        description='Train and evaluate a small Mask R-CNN on synthetic shapes. A second call '
        'goes on where an interrupted one stopped.',
    )
    parser.add_argument('--data', default='data/shapes', help='default: %(default)s')
    parser.add_argument('--work-dir', default='work_dirs/demo', help='default: %(default)s')
    parser.add_argument('--config', default=CONFIG, help='default: %(default)s')
    parser.add_argument(
        '--images',
        type=int,
        nargs=2,
        default=(900, 100),
        metavar=('TRAIN', 'VAL'),
        help='synthetic images to make; default: 900 100',
    )
    parser.add_argument('--epochs', type=int, help='fewer epochs, for a quick look')
    return parser.parse_args(argv)


def wanted_run(args: argparse.Namespace, config: Path) -> dict:
    """Everything that determines the weights: runs with equal values are the same demo."""
    root = config_root()
    packaged = config.is_relative_to(root)
    return {
        'config': config.relative_to(root).as_posix() if packaged else str(config.resolve()),
        'epochs': args.epochs or 'as configured',
        'images': ' '.join(map(str, args.images)),
    }


def check_run(work: Path, wanted: dict) -> dict | None:
    """The content of the marker in ``work``; None if nothing has been trained there.

    Raises:
        UserError: if there is another run, or one that cannot be identified. It is left alone.
    """
    marker = work / MARKER
    remedy = 'give another --work-dir, or remove the folder if it is not needed'
    try:
        stored = json.loads(marker.read_text(encoding='utf-8'))
        differs = [f'{k} {stored[k]} (asked: {v})' for k, v in wanted.items() if stored[k] != v]
        stored['finished'] = bool(stored['finished'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, FileNotFoundError) and not (work / POINTER).exists():
            return None
        raise UserError(
            f'{work} holds a run, but no {MARKER}, which identifies a run of this command; {remedy}'
        ) from error
    if differs:
        raise UserError(f'{work} holds another run: {", ".join(differs)}; {remedy}')
    return stored


def train(
    args: argparse.Namespace, config: str, work: Path, wanted: dict, stored: dict | None
) -> tuple[Path, str]:
    """Train, resume, or keep a finished run; return its last checkpoint and a remark on the time.

    ``wanted`` and ``stored`` are what :func:`wanted_run` and :func:`check_run` give. The marker
    says from the start what is trained, and at the end that it is finished.
    """
    arguments = [config, '--work-dir', str(work), '--data-root', args.data]
    if args.epochs:
        arguments += [
            '--cfg-options',
            f'train_cfg.max_epochs={args.epochs}',
            f'train_cfg.val_interval={max(1, args.epochs // 2)}',
            f'param_scheduler.1.end={args.epochs}',
        ]
    pointer, remark = work / POINTER, ''
    if stored and stored['finished']:
        print(f'\n{work} holds a finished run; remove the folder to train again')
        remark = ', the training was done before'
    else:
        if pointer.exists():
            arguments.append('--resume')
            remark = ' since the training was resumed'
        write_text(work / MARKER, json.dumps(dict(wanted, finished=False), indent=2) + '\n')
        run('train', *arguments)
        write_text(work / MARKER, json.dumps(dict(wanted, finished=True), indent=2) + '\n')
    try:
        checkpoint = Path(pointer.read_text(encoding='utf-8').strip())
    except OSError as error:
        raise UserError(f'{pointer} names no checkpoint: {error.strerror}; {AGAIN}') from error
    if not checkpoint.is_file():
        raise UserError(f'{checkpoint}, the last checkpoint of {work}, is not there; {AGAIN}')
    here = Path.cwd()
    return (checkpoint.relative_to(here) if checkpoint.is_relative_to(here) else checkpoint), remark


def draw(data: Path, predictions: Path, panel: Path) -> None:
    """Draw the ground truth beside the predictions; after a short training there may be none."""
    ann, images = data / 'annotations' / 'instances_val2017.json', data / 'val2017'
    where = ['--ann', str(ann), '--images', str(images)]
    if json.loads(predictions.read_text(encoding='utf-8')):
        run('panel', *where, '--results', str(predictions), '--out', str(panel))
        return
    # The command treats an empty file as a mistake, which it usually is.
    from selnext_mm.visualization.panel import draw_panel, load_annotations

    draw_panel(load_annotations(ann), [], images, panel)
    print(f'\nwrote {panel}: the ground truth beside no prediction. The model finds nothing yet; '
          'more --epochs help')  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if min(args.images) < 1:
        raise UserError(f'--images {args.images[0]} {args.images[1]}; expected 1 or more each')
    if args.epochs is not None and args.epochs < 1:
        raise UserError(f'--epochs {args.epochs}; expected 1 or more')
    started = time.time()
    config = find_config(args.config)
    work, data = Path(args.work_dir), Path(args.data)
    wanted = wanted_run(args, config)
    stored = check_run(work, wanted)
    run('make-shapes', str(data), '--train', str(args.images[0]), '--val', str(args.images[1]))
    checkpoint, remark = train(args, str(config), work, wanted, stored)
    results, panel = work / 'results.json', work / 'panel.png'
    where = ['--data-root', str(data), '--work-dir', str(work)]
    run('test', str(config), str(checkpoint), *where, '--out', str(results))
    draw(data, work / 'results.segm.json', panel)
    metrics = json.loads(results.read_text(encoding='utf-8'))['metrics']
    print(
        CLOSING.format(
            bbox=metrics['coco/bbox_mAP'],
            segm=metrics['coco/segm_mAP'],
            val=args.images[1],
            time=f'{(time.time() - started) / 60:.1f} minutes{remark}',
            panel=panel,
            checkpoint=checkpoint,
            results=results,
            data=data,
        )
    )
    return 0
