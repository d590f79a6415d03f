"""``selnext-mm check-data``: is the data of a config fit to train on?"""

import argparse
import json
import os
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
        '--no-duplicates', action='store_true', help='of a folder: do not look for duplicate images'
    )
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
            check_images(report, partial(progress.advance, task), workers)


def look_for_duplicates(reports: list, workers: int | None):
    """What :func:`selnext_mm.recipes.check.duplicated_images` says, with a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    from selnext_mm.recipes.check import duplicated_images

    images = {r.name.removesuffix('_dataloader'): sorted(map(str, r.paths)) for r in reports}
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task('duplicates', total=sum(map(len, images.values())))
        return duplicated_images(images, workers, lambda n: progress.advance(task, n))


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.workers is not None and args.workers < 1:
        raise UserError(f'--workers {args.workers}; expected 1 or more')
    if args.json and args.json != '-' and not os.path.isdir(Path(args.json).parent):
        raise UserError(f'--json {args.json}: the folder {Path(args.json).parent} does not exist')

    from selnext_mm.cli.terminal import show
    from selnext_mm.compat import silence_known_warnings
    from selnext_mm.config.load import load_config, set_data_root
    from selnext_mm.datasets.check.config import check_config
    from selnext_mm.datasets.check.findings import table_lines
    from selnext_mm.datasets.formats import find_dataset
    from selnext_mm.disk import write_output
    from selnext_mm.engine.preflight.model_keys import check_model_keys
    from selnext_mm.engine.preflight.paths import check_paths
    from selnext_mm.recipes.check import counts_table, is_labels, labels_config

    silence_known_warnings()
    info = None
    if is_labels(args.config):
        info = find_dataset(args.config, format=args.format)
        cfg = labels_config(info)
        args.splits = [split for split in args.splits if split in info.splits]
        if args.json != '-':
            show([('note', line) for line in info.choices])
    else:
        cfg = load_config(args.config, args.cfg_options)
        if args.data_root:
            set_data_root(cfg, args.data_root)
        check_model_keys(cfg)
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
    alike, alike_lines = None, []
    if info and not args.no_duplicates:
        alike, alike_lines = look_for_duplicates(reports, args.workers)
    errors = sum(len(report.errors) for report in reports)
    if args.json:
        content = {
            'config': str(args.config),
            'ok': not errors,
            'images_read': args.images,
            'datasets': [report.as_dict() for report in reports],
        }
        if alike:
            content['duplicates'] = [[list(i) for i in group.images] for group in alike.groups]
        text = json.dumps(content, indent=2)
        if args.json == '-':
            print(text)
            return int(bool(errors))
        write_output('--json', args.json, text + '\n')
    show(table_lines(reports))
    if info and (table := counts_table(info)):
        print('\n'.join(['', *table, '']))
    show(alike_lines)
    warnings = sum(f.level == 'warn' for report in reports for f in report.findings)
    warnings += sum(level == 'warn' for level, _ in alike_lines)
    closing = f'{errors} errors, {warnings} warnings'
    if not args.images:
        closing += '; --images reads every image, too'
    show([('FAIL' if errors else 'ok', closing)])
    return int(bool(errors))
