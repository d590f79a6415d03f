"""``tools/train.py`` and ``selnext-mm train``."""

import sys

from selnext_mm.cli.run_options import base_parser, open_session
from selnext_mm.engine.signals import stop_early


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
    parser.add_argument(
        '--tensorboard',
        action='store_true',
        help='write the scalars for TensorBoard, too (vis_data/ in the dated folder)',
    )
    return parser.parse_args(argv)


@stop_early()
def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if any(word.partition('=')[0] == '--data' for word in words):
        from selnext_mm.cli import train_data

        return train_data.main(words)
    args = parse_args(argv)
    open_session(args).train(
        resume=args.resume,
        amp=args.amp,
        auto_scale_lr=args.auto_scale_lr,
        tensorboard=args.tensorboard,
    )
    return 0
