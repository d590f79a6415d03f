"""``selnext-mm train --data DIR [MODEL]``: from labels to a trained detector or classifier."""

import argparse
import os
import shlex
from dataclasses import fields

from selnext_mm.cli.arguments import given_options
from selnext_mm.cli.parser import Parser
from selnext_mm.cli.run_options import add_run_options, called_as
from selnext_mm.datasets.formats import FORMATS
from selnext_mm.datasets.formats.stratify import FRACTION
from selnext_mm.disk import check_folder
from selnext_mm.engine.distributed.processes import in_process_group, start_processes
from selnext_mm.recipes.resolve import CLASSIFIER_BATCHES, DEFAULTS, EPOCHS
from selnext_mm.recipes.schedule import BASE_BATCH, CLASSIFIER_BATCH, FINE_TUNING_LR, SCRATCH_LR

EPILOG = """Models: selnext_{yocto,atto,femto,pico,nano,t,s,b,l}, convnext_*,
na_resnet{18,34,50,101}, resnet*, patnet_{t0,t1,t2,s,m,l}, fasternet_*,
mobilenet_v3_l_{seln,se}; in front of it, if the labels are boxes or masks, one of faster_rcnn/,
cascade_rcnn/, retinanet/, mask_rcnn/, cascade_mask_rcnn/. What is not given is chosen, and
every choice is logged in one line."""


def either(key: str, factor: int = 1) -> str:
    """The defaults with an accelerator and on a CPU, as a string."""
    return f'{DEFAULTS["cuda"][key] * factor:,} (on a CPU {DEFAULTS["cpu"][key] * factor:,})'


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog=called_as('train'),
        description='Train on labels in COCO, YOLO, Pascal VOC or LVIS format, or on class '
        'folders; then test the best checkpoint and write a report.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add('--data', required=True, metavar='DIR', help='folder, COCO .json or YOLO data.yaml')
    add('model', nargs='?', help='BACKBONE or DETECTOR/BACKBONE; see below')
    add('--format', choices=FORMATS, help='of the labels; found by looking')
    add(
        '--val',
        metavar='FRACTION|DIR',
        help='validate on a share of the training images, or DIR; default: the val split of the '
        f'labels, else {FRACTION}',
    )
    fewest, most = EPOCHS
    add(
        '--epochs',
        type=int,
        metavar='N',
        help=f'passes over the training images; default: {fewest} to {most}, so that about '
        f'{either("images")} images are seen in all, by a classifier {either("classified")}; half '
        'as many with --weights',
    )
    add(
        '--batch-size',
        type=int,
        metavar='N',
        help=f'images per update and process; default: {either("batch")}, of a classifier '
        f'{either("batch", CLASSIFIER_BATCHES)}',
    )
    add(
        '--lr',
        type=float,
        metavar='RATE',
        help=f'the highest learning rate; default: {SCRATCH_LR:g}, with --weights '
        f'{FINE_TUNING_LR:g}, times sqrt(images in an update / {BASE_BATCH}; of a classifier / '
        f'{CLASSIFIER_BATCH})',
    )
    add(
        '--image-size',
        type=int,
        metavar='PIXELS',
        help=f'longer side, of a classifier the square; default: {either("detector")}, of a '
        f'classifier {either("classifier")}',
    )
    add(
        '--workers',
        type=int,
        metavar='N',
        help='processes that load images; default: half of the processors, 1 to 4',
    )
    add(
        '--seed',
        type=int,
        default=0,
        metavar='N',
        help='of weights, order, augmentation and split; default: 0',
    )
    add(
        '--patience',
        type=int,
        metavar='EPOCHS',
        help='stop after this many epochs without improvement, up to a whole evaluation (train '
        'CONFIG counts evaluations); 0: never; default: half of --epochs, at least 10',
    )
    add(
        '--weights', metavar='FILE|URL', help='start from a backbone or a detector; hf://OWNER/REPO'
    )
    add(
        '--freeze',
        type=int,
        metavar='N',
        help="first N of the backbone's 4 stages stay as they are; default: 0",
    )
    add('--multi-scale', action='store_true', help='train on images of 0.5 to 1.5 times the size')
    add('--mix', action='store_true', help='Mosaic and MixUp (boxes), Mixup and CutMix (classes)')
    add('--weight-decay', type=float, metavar='X', help='of AdamW; default: 0.05')
    add(
        '--drop-path',
        type=float,
        metavar='RATE',
        help='stochastic depth; default: 0, with --weights 0.2',
    )
    add('--clip-grad', type=float, metavar='NORM', help='largest gradient norm; 0: any; default: 5')
    add('--amp', action='store_true', help='mixed precision (fp16)')
    add_run_options(parser)
    add('--out', '--work-dir', metavar='DIR', help='default: work_dirs/<data>_<model>')
    add('--resume', action='store_true', help='go on from the newest checkpoint of the run')
    add('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    add('--debug', action='store_true', help='show the traceback of an error')
    return parser.parse_args(argv)


# What the next run, from the weights of this one, repeats: options of the data, the model and the
# form of its input. With another split it would validate on images that the weights have seen.
REPEATED = (
    *('format', 'val', 'seed', 'image_size', 'multi_scale', 'mix'),
    *('batch_size', 'workers', 'gpus', 'freeze', 'drop_path', 'amp'),
)


def same_model(args: argparse.Namespace) -> list[str]:
    """The arguments that choose the data, its split, the model and the form of its input."""
    words = ['--data', args.data, *([args.model] if args.model else [])]
    return words + given_options(args, REPEATED, seed=0)


def look_ahead(args: argparse.Namespace) -> None:
    """Find mistakes before there are processes: torchrun would add its own report of each."""
    from selnext_mm.recipes.folder import folder_of_run
    from selnext_mm.recipes.models import refuse_a_checkpoint
    from selnext_mm.recipes.options import Options
    from selnext_mm.recipes.run import plan

    if args.model:
        refuse_a_checkpoint(args.model)
    folder = folder_of_run(args.data, args.model, args.out, args.resume)
    plan(
        *(args.data, args.model),
        Options(**{field.name: getattr(args, field.name) for field in fields(Options)}),
        *(args.format, args.val),
        say=lambda line: None,
        resumed=folder if args.resume else None,
    )


def main(argv: list[str]) -> int:
    args = parse_args(argv)
    if args.gpus is not None and not in_process_group():
        look_ahead(args)
        return start_processes('train', argv, args.gpus)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    if args.out:
        check_folder('--out', args.out)

    from selnext_mm.ranks import is_first_process
    from selnext_mm.recipes.run import closing, train

    again = same_model(args)
    options = vars(args)
    for name in ('local_rank', 'debug', 'gpus'):
        del options[name]
    first = is_first_process()
    result = train(
        **options,
        command=f'selnext-mm train {shlex.join(argv)}',
        say=lambda text: print(text, flush=True) if first else None,
    )
    if first:
        print(closing(result, again))
    return 0
