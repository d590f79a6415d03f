"""``selnext-mm check-data``: is the data of a config fit to train on?"""

import argparse
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from selnext_mm.cli.arguments import Options
from selnext_mm.cli.parser import Parser
from selnext_mm.datasets.formats.detect import FORMATS
from selnext_mm.errors import UserError

EPILOG = """Exit status: 0 if there is no error (warnings allowed), 1 if there is one, 2 for a
file or config that cannot be read at all. tools/train.py runs the quick part of this check (the
annotation files, the names of the images) by itself."""
SPLITS = ('train', 'val', 'test')


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='selnext-mm check-data',
        description='Check the data sets of a config, or a folder of labels: categories against '
        'classes, boxes, masks, ids, images, counts, duplicate images. Nothing is changed.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'config',
        help='config file, a name under configs/, or labels of any format: a folder, a COCO .json '
        'or a YOLO data.yaml',
    )
    parser.add_argument('--format', choices=FORMATS, help='of the labels; found by looking')
    parser.add_argument(
        '--val', metavar='FRACTION|DIR', help='of labels: what train --data would validate on'
    )
    parser.add_argument(
        '--seed', type=int, default=0, metavar='N', help='of labels: of this choice; default: 0'
    )
    parser.add_argument(
        '--no-duplicates', action='store_true', help='of a folder: do not look for duplicate images'
    )
    parser.add_argument('--data-root', help='folder of the data set: moves all data sets there')
    parser.add_argument(
        '--images',
        action='store_true',
        help='also read every image: unreadable, truncated, of another size than annotated',
    )
    parser.add_argument(
        '--splits', nargs='+', choices=SPLITS, default=SPLITS, help='default: all three'
    )
    parser.add_argument(
        '--workers', type=int, metavar='N', help='threads that read images (one per processor)'
    )
    parser.add_argument('--json', metavar='FILE', help='write the result to FILE; - prints it')
    parser.add_argument('--cfg-options', nargs='+', action=Options, help='key=value ...')
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.workers is not None and args.workers < 1:
        raise UserError(f'--workers {args.workers}; expected 1 or more')
    if args.json and args.json != '-' and not os.path.isdir(Path(args.json).parent):
        raise UserError(f'--json {args.json}: the folder {Path(args.json).parent} does not exist')

    from rich.console import Console
    from rich.progress import Progress

    from selnext_mm.cli.terminal import show
    from selnext_mm.compat import silence_known_warnings
    from selnext_mm.disk import write_output
    from selnext_mm.recipes.check import check_data

    silence_known_warnings()
    bars = Progress(console=Console(stderr=True))

    def progress(name: str, total: int) -> Callable[[int], None]:
        bars.start()
        return partial(bars.advance, bars.add_task(name, total=total))

    try:
        result = check_data(
            args.config,
            splits=args.splits,
            format=args.format,
            val=args.val,
            seed=args.seed,
            data_root=args.data_root,
            options=args.cfg_options,
            images=args.images,
            duplicates=not args.no_duplicates,
            workers=args.workers,
            progress=progress,
        )
    finally:
        if bars.live.is_started:
            bars.stop()
    code = int(bool(result.errors))
    if args.json:
        text = json.dumps(result.as_dict(), indent=2)
        if args.json == '-':
            print(text)
            return code
        write_output('--json', args.json, text + '\n')
    show([('note', line) for line in result.info.choices] if result.info else [])
    show(result.lines())
    return code
