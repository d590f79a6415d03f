"""``selnext-mm report``: one HTML page of one or several runs."""

import argparse
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.disk import check_folder
from selnext_mm.errors import UserError
from selnext_mm.visualization import SCORE_THR


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm report',
        description='Write one self-contained HTML page of one or several runs: config, curves, '
        'AP, confusion matrix, and images with ground truth beside prediction. What needs '
        'predictions is drawn from the files that "selnext-mm test --out FILE.json" writes.',
    )
    result.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', help='folder of a run')
    result.add_argument('--out', default='report.html', help='the page (default: %(default)s)')
    result.add_argument(
        '--predictions',
        action='append',
        default=[],
        metavar='FILE',
        help='FILE.json of the test, or a COCO result file; once for each WORK_DIR, in their '
        'order (default: the newest in each WORK_DIR)',
    )
    result.add_argument('--ann', metavar='JSON', help="annotations (default: the config's)")
    result.add_argument('--images', metavar='DIR', help="images (default: the config's)")
    result.add_argument(
        '--name',
        action='append',
        default=[],
        metavar='NAME',
        help='name of a run, once for each WORK_DIR (default: of the folder)',
    )
    result.add_argument(
        '--num', type=int, default=12, help='worst images, and best ones, to show (%(default)s)'
    )
    result.add_argument(
        '--score-thr',
        type=float,
        default=SCORE_THR,
        help='lowest score in the confusion matrix and the gallery (%(default)s)',
    )
    result.add_argument(
        '--thresholds',
        metavar='FILE.json',
        help='write the score of each class with the largest F1, too, for "selnext-mm export '
        '--thresholds" (one WORK_DIR)',
    )
    return result


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.num < 1:
        raise UserError(f'--num {args.num}; expected 1 or more')
    if not 0 <= args.score_thr < 1:
        raise UserError(f'--score-thr {args.score_thr:g}; expected 0 or more, and less than 1')
    if Path(args.out).suffix.lower() not in ('.html', '.htm'):
        raise UserError(f'--out {args.out}; expected a file name that ends in .html')
    check_folder('--out', Path(args.out).expanduser().parent)
    for name, path in (('ann', args.ann), ('images', args.images)):
        if path and not Path(path).exists():
            raise UserError(f'--{name} {path}: no such {"file" if name == "ann" else "folder"}')

    if args.thresholds:
        if Path(args.thresholds).suffix != '.json':
            raise UserError(f'--thresholds {args.thresholds}; expected a name that ends in .json')
        check_folder('--thresholds', Path(args.thresholds).expanduser().parent)

    from selnext_mm.report.page import build_report

    found = build_report(
        args.work_dirs,
        args.out,
        predictions=args.predictions,
        annotations=args.ann,
        images=args.images,
        names=args.name,
        num=args.num,
        score_thr=args.score_thr,
        say=lambda text: print(text, flush=True),
        thresholds=args.thresholds,
    )
    for name, note in found['notes']:
        print(f'note: {name}: {note}' if name else f'note: {note}')
    print(
        f'wrote {args.out} ({found["bytes"] / 1e6:.1f} MB): {found["runs"]} run(s), '
        f'{found["charts"]} charts, {found["pictures"]} images'
    )
    if args.thresholds:
        print(f'wrote {args.thresholds}: the best score of each class; choose them on other '
              'images than those you report on')  # fmt: skip
    return 0
