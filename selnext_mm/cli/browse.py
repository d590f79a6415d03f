"""``selnext-mm browse``: images with labels, before and after augmentation."""

import argparse
from pathlib import Path

from selnext_mm.cli.arguments import Options
from selnext_mm.cli.parser import Parser
from selnext_mm.datasets.formats.detect import FORMATS
from selnext_mm.errors import UserError


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='selnext-mm browse',
        description='Draw images with their labels as stored, and beside them as a model is '
        'trained on them: a sheet (PNG) and a page (HTML) that opens without a network.',
    )
    parser.add_argument(
        'data',
        metavar='DIR|CONFIG',
        help='labels of any format (a folder, a COCO .json, a YOLO data.yaml), or a config',
    )
    parser.add_argument(
        '--out', default='browse.png', metavar='FILE.png', help='default: %(default)s'
    )
    parser.add_argument('--num', type=int, default=12, metavar='N', help='images (default: 12)')
    parser.add_argument(
        '--variants', type=int, default=1, metavar='N', help='augmentations of each (default: 1)'
    )
    parser.add_argument(
        '--split', choices=('train', 'val', 'test'), default='train', help='default: train'
    )
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='other images: 1, 2, ...')
    parser.add_argument('--format', choices=FORMATS, help='of the labels; found by looking')
    parser.add_argument('--data-root', help='folder of the data set of a config')
    parser.add_argument('--cfg-options', nargs='+', action=Options, help='key=value ...')
    return parser


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    for name, least in (('num', 1), ('variants', 0), ('seed', 0)):
        if getattr(args, name) < least:
            raise UserError(f'--{name} {getattr(args, name)}; expected {least} or more')
    if Path(args.out).suffix != '.png':
        raise UserError(f'--out {args.out}: the name has to end in .png')

    from selnext_mm.compat import silence_known_warnings
    from selnext_mm.disk import check_folder
    from selnext_mm.recipes.browse import browse, config_to_show

    silence_known_warnings()
    check_folder('--out', Path(args.out).parent)
    cfg = config_to_show(args.data, args.split, args.format, args.data_root, args.cfg_options)
    title = f'{Path(args.data).name}: {args.split}'
    written = browse(cfg, args.out, title, args.split, args.num, args.variants, args.seed)
    print(f'wrote {", ".join(map(str, written))}')
    return 0
