"""``selnext-mm check-data``: is the data of a config fit to train on?"""

import argparse
import json
import os
from pathlib import Path

from selnext_mm.cli.arguments import Options
from selnext_mm.errors import UserError

EPILOG = """Exit status: 0 if there is no error (warnings allowed), 1 if there is one, 2 for a
file or config that cannot be read at all. tools/train.py runs the quick part of this check (the
annotation files, the names of the images) by itself."""
SPLITS = ('train', 'val', 'test')


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='selnext-mm check-data',
        description='Check the data sets of a config: categories against classes, boxes, masks, '
        'ids, images, counts. Nothing is changed.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('config', help='config file, or a name under configs/')
    parser.add_argument('--data-root', help='folder of the data set: moves all datasets there')
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


def read_images(reports: list, workers: int | None) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from selnext_mm.datasets.check.image_files import check_images

    with Progress(console=Console(stderr=True)) as progress:
        for report in reports:
            task = progress.add_task(report.name, total=len(report.paths))
            check_images(report, lambda task=task: progress.advance(task), workers)


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.workers is not None and args.workers < 1:
        raise UserError(f'--workers {args.workers}; expected 1 or more')
    if args.json and args.json != '-' and not os.path.isdir(Path(args.json).parent):
        raise UserError(f'--json {args.json}: the folder {Path(args.json).parent} does not exist')

    from selnext_mm.cli.doctor import show
    from selnext_mm.compat import silence_known_warnings
    from selnext_mm.config.load import load_config, set_data_root
    from selnext_mm.datasets.check.config import check_config
    from selnext_mm.datasets.check.findings import table_lines
    from selnext_mm.disk import write_text
    from selnext_mm.engine.preflight.paths import check_paths

    silence_known_warnings()
    cfg = load_config(args.config, args.cfg_options)
    if args.data_root:
        set_data_root(cfg, args.data_root)
    loaders = tuple(f'{split}_dataloader' for split in args.splits)
    check_paths(cfg, loaders)
    reports = check_config(cfg, loaders)
    if not reports:
        raise UserError(
            f'{args.config} has no data set that this command knows: COCO files, image folders or '
            'lists of images and labels'
        )
    if args.images:
        read_images(reports, args.workers)
    errors = sum(len(report.errors) for report in reports)
    if args.json:
        content = {
            'config': str(args.config),
            'ok': not errors,
            'images_read': args.images,
            'datasets': [report.as_dict() for report in reports],
        }
        text = json.dumps(content, indent=2)
        if args.json == '-':
            print(text)
            return int(bool(errors))
        path = Path(args.json).resolve()
        try:
            if path.exists() and not path.is_file():  # a device or a pipe stays what it is
                path.write_text(text + '\n', encoding='utf-8')
            else:
                write_text(path, text + '\n')
        except OSError as error:
            raise UserError(f'--json {args.json}: {error.strerror}; name a writable file') from None
    show(table_lines(reports))
    warnings = sum(f.level == 'warn' for report in reports for f in report.findings)
    closing = f'{errors} errors, {warnings} warnings'
    if not args.images:
        closing += '; --images reads every picture, too'
    show([('FAIL' if errors else 'ok', closing)])
    return int(bool(errors))
