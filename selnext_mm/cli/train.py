"""``tools/train.py`` and ``selnext-mm train``."""

import argparse
import os
import shlex
import sys
from dataclasses import fields

from selnext_mm.cli.run_options import add_run_options, base_parser, called_as, open_session
from selnext_mm.config_files import OWN_CONFIG
from selnext_mm.engine.distributed.processes import in_process_group, start_processes
from selnext_mm.engine.signals import stop_early
from selnext_mm.errors import UserError
from selnext_mm.ranks import is_first_process
from selnext_mm.recipes.check import is_labels
from selnext_mm.recipes.config_options import ConfigOptions, set_options

# Options of ``train --data`` for which a config has keys: option -> its placeholder (None for a
# switch), and what to write instead.
OF_LABELS = {
    '--val': (
        'FRACTION|DIR',
        'its validation images: --cfg-options val_dataloader.dataset.ann_file=FILE '
        'val_evaluator.ann_file=FILE',
    ),
    '--freeze': (
        'N',
        'its frozen stages: --cfg-options model.backbone.frozen_stages=N, with weights to keep '
        '(--weights)',
    ),
    '--multi-scale': (None, 'its image sizes: train_dataloader.dataset.pipeline in the config'),
    '--mix': (None, 'its augmentation: train_dataloader.dataset.pipeline in the config'),
    '--clip-grad': (
        'NORM',
        'the norm of its gradients: --cfg-options optim_wrapper.clip_grad.max_norm=NORM',
    ),
    '--weight-decay': (
        'RATE',
        'its weight decay: --cfg-options optim_wrapper.optimizer.weight_decay=RATE',
    ),
    '--drop-path': (
        'RATE',
        'its stochastic depth: --cfg-options model.backbone.drop_path_rate=RATE',
    ),
    '--format': ('NAME', 'its data sets: train_dataloader.dataset.type in the config'),
}


def parse_args(argv: list[str] | None):
    parser = base_parser(
        'train',
        'Train a detector or classifier from a config. With --data DIR from labels instead: see '
        '"selnext-mm train --data DIR --help".',
        config='?',  # optional, so that the error for a missing one can mention --data
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='auto|if-any|PATH',
        help='go on from the newest intact checkpoint of the work dir (auto), from a file, or '
        'from the newest if there is one (if-any, for jobs that are started again)',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (fp16)')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the lr by (batch of this run) / auto_scale_lr.base_batch_size',
    )
    add = parser.add_argument
    add('--out', dest='work_dir', metavar='DIR', help='the same as --work-dir')
    add('--epochs', type=int, metavar='N', help='everything counted in epochs is scaled to match')
    add('--batch-size', type=int, metavar='N', help='images per update and process; the lr follows')
    add('--lr', type=float, metavar='RATE', help='the highest learning rate')
    add('--image-size', type=int, metavar='PIXELS', help='longer side; of a classifier the square')
    add('--workers', type=int, metavar='N', help='processes that load images, for each loader')
    add('--seed', type=int, metavar='N', help='of weights, order and augmentation')
    add(
        '--patience',
        type=int,
        metavar='N',
        help='stop after this many evaluations without improvement (with --data: epochs); 0: never',
    )
    add('--weights', metavar='FILE|URL', help='start from a backbone or a whole model')
    for option, (value, _) in OF_LABELS.items():
        if value:
            add(option, metavar=value, help=argparse.SUPPRESS)
        else:
            add(option, action='store_true', default=None, help=argparse.SUPPRESS)
    add_run_options(parser)
    args = parser.parse_args(argv)
    if args.config is None:
        parser.error('give a CONFIG, or labels to train on: --data DIR')
    return args


def refuse_labels(config: str) -> None:
    """Raise :class:`UserError` for labels in place of a config."""
    folder = os.path.isdir(config)
    if is_labels(config) and not os.path.isfile(os.path.join(config, OWN_CONFIG)):
        raise UserError(
            f'{config} is {"a folder" if folder else "a file of labels"}; to train on labels: '
            f'{called_as("train")} --data {shlex.quote(config)}'
        )


def refuse_a_model(config: str) -> None:
    """Raise :class:`UserError` for a model of ``train --data`` in place of a config."""
    from selnext_mm.recipes.models import BACKBONES, DETECTORS

    detector, _, backbone = config.rpartition('/')
    known = backbone in BACKBONES and (not detector or detector in DETECTORS)
    if known and not os.path.exists(config):
        raise UserError(
            f'{config} is a model that is trained on labels: {called_as("train")} --data DIR '
            f'{config}; a config is a file, as mask_rcnn/selnext_t_3x_coco.py'
        )


def refuse_options_of_labels(args: argparse.Namespace) -> None:
    """Raise :class:`UserError` for an option of ``train --data``; it names the config key."""
    for option, (value, instead) in OF_LABELS.items():
        given = getattr(args, option.removeprefix('--').replace('-', '_'))
        if given is not None:
            words = f'{option} {given}' if value else option
            raise UserError(f'{words} is for --data; a config names {instead}')


@stop_early()
def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if any(word.partition('=')[0] == '--data' for word in words):
        from selnext_mm.cli import train_data

        return train_data.main(words)
    args = parse_args(argv)
    refuse_labels(args.config)
    refuse_a_model(args.config)
    refuse_options_of_labels(args)
    if args.gpus is not None and not in_process_group():
        if args.launcher != 'none':
            raise UserError(
                f'--gpus {args.gpus} starts the processes itself; leave out --launcher '
                f'{args.launcher}, or --gpus'
            )
        return start_processes('train', words, args.gpus)
    session = open_session(args)
    wished = {field.name: getattr(args, field.name) for field in fields(ConfigOptions)}
    for line in set_options(session.cfg, ConfigOptions(**wished)):
        if is_first_process():
            print(line, flush=True)
    session.train(
        resume=args.resume,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        loggers=args.loggers,
        show_predictions=args.show_predictions,
    )
    return 0
