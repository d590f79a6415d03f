"""``selnext-mm make-shapes DIR``: write the synthetic COCO data set of the demo."""

import argparse
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.datasets.shapes import (
    CLASSES,
    SPLITS,
    Summary,
    annotation_file,
    write_shapes,
)
from selnext_mm.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm make-shapes',
        description='Write a synthetic instance segmentation data set of six classes '
        f'({", ".join(CLASSES)}) in the layout of COCO 2017. The same arguments give the same '
        'bytes; a larger set begins with the smaller one.',
    )
    result.add_argument('dir', metavar='DIR', help='new folder, e.g. data/shapes')
    result.add_argument('--train', type=int, default=400, help='training images (%(default)s)')
    result.add_argument('--val', type=int, default=100, help='validation images (%(default)s)')
    result.add_argument(
        '--size', type=int, default=224, help='side in pixels, 64 to 1024 (%(default)s)'
    )
    result.add_argument('--seed', type=int, default=0, help='0 or more (%(default)s)')
    result.add_argument(
        '--force', action='store_true', help='replace a folder that make-shapes wrote before'
    )
    result.add_argument(
        '--preview', metavar='PNG', help='also draw a contact sheet of validation images'
    )
    return result


def report(summary: Summary) -> str:
    """A table: images, objects per class and per COCO size group, of each split."""
    head = 'wrote' if summary.written else 'left alone, the same data set is there already:'
    lines = [f'{head} {summary.folder}', '']
    lines.append(f'{"":10}' + ''.join(f'{split:>8}' for split in SPLITS))
    rows = [('images', summary.images)]
    rows += [('objects', {s: summary.classes[s].total() for s in SPLITS})]
    rows += [(f'  {n}', {s: summary.classes[s][n] for s in SPLITS}) for n in CLASSES]
    for name in ('small', 'medium', 'large'):
        rows.append((name, {s: summary.scales[s][name] for s in SPLITS}))
    lines += [f'{name:10}' + ''.join(f'{value[s]:8}' for s in SPLITS) for name, value in rows]
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.preview and Path(args.preview).suffix.lower() != '.png':
        raise UserError(f'--preview {args.preview}; expected a file name that ends in .png')
    if args.preview and Path(args.dir).resolve() in Path(args.preview).resolve().parents:
        raise UserError(
            f'--preview {args.preview} lies in the data set folder, which holds nothing else; '
            'give a path outside it'
        )
    summary = write_shapes(args.dir, args.train, args.val, args.size, args.seed, args.force)
    print(report(summary))
    if args.preview:
        from selnext_mm.visualization.panel import draw_sheet, load_annotations

        content = load_annotations(annotation_file(summary.folder, 'val'))
        draw_sheet(
            content, summary.folder / 'val2017', args.preview, title='Synthetic shapes, validation'
        )
        print(f'\npreview   {args.preview}')
    return 0
