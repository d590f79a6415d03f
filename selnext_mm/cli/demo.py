"""``selnext-mm demo``: data, training, evaluation and pictures in one go."""

import argparse
import json
import shlex
import subprocess
import sys
import time
from pathlib import Path

from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError

CONFIG = 'mask_rcnn/selnext_atto_shapes.py'

CLOSING = """
================================ demo finished ================================
box mAP {bbox:.3f}, mask mAP {segm:.3f} on {val} held-out images ({minutes:.1f} minutes)

  pictures      {panel}
  weights       {checkpoint}
  results       {results} (and .bbox.json, .segm.json: COCO format)
  data          {data}

What to try next
  the cascade   tools/train.py configs/cascade_mask_rcnn/selnext_atto_shapes.py
  COCO          tools/train.py configs/mask_rcnn/selnext_t_3x_coco.py --data-root DIR
  your data     the same line with your COCO-format DIR; README.md, "Your own data"
  your project  custom_imports = dict(imports=['selnext_mm']), backbone type 'SELNeXt'
==============================================================================="""


def run(command: str, *arguments: str) -> None:
    """Run ``selnext-mm COMMAND``; show it as a user would type it."""
    print(f'\n$ selnext-mm {command} {shlex.join(arguments)}', flush=True)
    code = subprocess.run([sys.executable, '-m', 'selnext_mm', command, *arguments]).returncode
    if code:
        # The step has told why.
        print(f'the demo stopped in the step "selnext-mm {command}"', file=sys.stderr)
        raise SystemExit(code)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='selnext-mm demo',
        description='Train and evaluate a small Mask R-CNN on synthetic shapes. A second call '
        'goes on where an interrupted one stopped.',
    )
    parser.add_argument('--data', default='data/shapes', help='default: %(default)s')
    parser.add_argument('--work-dir', default='work_dirs/demo', help='default: %(default)s')
    parser.add_argument('--config', default=CONFIG, help='default: %(default)s')
    parser.add_argument('--images', type=int, nargs=2, default=(900, 100), metavar=('TRAIN', 'VAL'))
    parser.add_argument('--epochs', type=int, help='fewer epochs, for a quick look')
    return parser.parse_args(argv)


def train(args: argparse.Namespace, config: str, work: Path) -> Path:
    """Train, resume, or keep a finished run; return its last checkpoint."""
    arguments = [config, '--work-dir', str(work), '--data-root', args.data]
    if args.epochs:
        arguments += [
            '--cfg-options',
            f'train_cfg.max_epochs={args.epochs}',
            f'train_cfg.val_interval={args.epochs}',
            f'param_scheduler.1.end={args.epochs}',
        ]
    pointer = work / 'last_checkpoint'
    done = work / 'demo_finished'
    if pointer.exists() and not done.exists():
        arguments.append('--resume')
    if done.exists():
        print(f'\n{work} holds a finished run; remove the folder to train again')
    else:
        run('train', *arguments)
        done.touch()
    return Path(pointer.read_text().strip())


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if min(args.images) < 1:
        raise UserError(f'--images {args.images[0]} {args.images[1]}; expected 1 or more each')
    if args.epochs is not None and args.epochs < 1:
        raise UserError(f'--epochs {args.epochs}; expected 1 or more')
    started = time.time()
    config = str(find_config(args.config))
    work, data = Path(args.work_dir), Path(args.data)
    run('make-shapes', str(data), '--train', str(args.images[0]), '--val', str(args.images[1]))
    checkpoint = train(args, config, work)
    results, panel = work / 'results.json', work / 'panel.png'
    where = ['--data-root', str(data), '--work-dir', str(work)]
    run('test', config, str(checkpoint), *where, '--out', str(results))
    ann = data / 'annotations' / 'instances_val2017.json'
    run(
        'panel',
        *('--ann', str(ann), '--images', str(data / 'val2017')),
        *('--results', str(work / 'results.segm.json'), '--out', str(panel)),
    )
    metrics = json.loads(results.read_text())['metrics']
    print(
        CLOSING.format(
            bbox=metrics['coco/bbox_mAP'],
            segm=metrics['coco/segm_mAP'],
            val=args.images[1],
            minutes=(time.time() - started) / 60,
            panel=panel,
            checkpoint=checkpoint,
            results=results,
            data=data,
        )
    )
    return 0
