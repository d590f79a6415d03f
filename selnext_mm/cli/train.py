"""``tools/train.py`` and ``selnext-mm train``."""

import sys

from selnext_mm.cli.processes import add_run_options, in_process_group, start_processes
from selnext_mm.cli.run_options import base_parser, open_session
from selnext_mm.engine.signals import stop_early
from selnext_mm.errors import UserError


def parse_args(argv: list[str] | None):
    parser = base_parser(
        'train.py',
        'Train a detector or classifier from a config. With --data DIR from labels instead: see '
        '"selnext-mm train --data DIR --help".',
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
    add_run_options(parser)
    return parser.parse_args(argv)


@stop_early()
def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if any(word.partition('=')[0] == '--data' for word in words):
        from selnext_mm.cli import train_data

        return train_data.main(words)
    args = parse_args(argv)
    if args.gpus is not None and not in_process_group():
        if args.launcher != 'none':
            raise UserError(
                f'--gpus {args.gpus} starts the processes itself; leave out --launcher '
                f'{args.launcher}, or --gpus'
            )
        return start_processes('train', words, args.gpus)
    open_session(args).train(
        resume=args.resume,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        loggers=args.loggers,
        show_predictions=args.show_predictions,
    )
    return 0
