"""``selnext-mm panel``: predictions beside the ground truth, as one PNG."""

import argparse
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.errors import UserError
from selnext_mm.visualization import SCORE_THR


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm panel',
        description='Draw the ground truth (left) and the predictions (right) of images spread '
        'over a COCO data set. The predictions are the files that a test writes with '
        'test_evaluator.outfile_prefix=PREFIX.',
    )
    result.add_argument('--ann', required=True, metavar='JSON', help='COCO instances file')
    result.add_argument('--images', required=True, metavar='DIR', help='folder of its images')
    result.add_argument(
        '--results',
        required=True,
        metavar='RESULTS',
        help='PREFIX.segm.json, PREFIX.bbox.json, or PREFIX',
    )
    result.add_argument('--out', required=True, metavar='PNG', help='the image to write')
    result.add_argument('--num', type=int, default=8, help='images to show (%(default)s)')
    result.add_argument(
        '--score-thr',
        type=float,
        default=SCORE_THR,
        help='lowest score that is drawn (%(default)s)',
    )
    result.add_argument('--columns', type=int, help='pairs in a row (by the width of the images)')
    result.add_argument('--seed', type=int, help='another choice of images (evenly spaced)')
    return result


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    for name, value, low in (('num', args.num, 1), ('columns', args.columns, 1)):
        if value is not None and value < low:
            raise UserError(f'--{name} {value}; expected {low} or more')
    if args.seed is not None and args.seed < 0:
        raise UserError(f'--seed {args.seed}; expected 0 or more')
    if not 0 <= args.score_thr <= 1:
        raise UserError(f'--score-thr {args.score_thr:g}; expected a number from 0 to 1')
    if Path(args.out).suffix.lower() != '.png':
        raise UserError(f'--out {args.out}; expected a file name that ends in .png')
    if not Path(args.images).is_dir():
        raise UserError(f'--images {args.images} is not a folder')

    from selnext_mm.visualization.panel import draw_panel, load_annotations, load_results

    content = load_annotations(args.ann)
    results = load_results(args.results, content)
    counts = draw_panel(
        content,
        results,
        args.images,
        args.out,
        num=args.num,
        score_thr=args.score_thr,
        columns=args.columns,
        seed=args.seed,
    )
    print(
        f'wrote {args.out} ({counts["width"]} x {counts["height"]} pixels): {counts["images"]} '
        f'of {counts["of"]} images, {counts["objects"]} objects, {counts["predictions"]} '
        f'predictions with score >= {args.score_thr:g}'
    )
    return 0
