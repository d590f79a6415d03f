"""``tools/test.py`` and ``selnext-mm test``."""

from selnext_mm.cli.run_options import base_parser, open_session
from selnext_mm.cli.slice_options import add_slice_arguments, read_slicing
from selnext_mm.evaluation.output import OutputFiles


def parse_args(argv: list[str] | None):
    parser = base_parser('test', 'Evaluate a checkpoint on the test set of a config.')
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='checkpoint file')
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='FILE.json: metrics and AP of every class, and COCO results beside it '
        '(FILE.bbox.json, FILE.segm.json); FILE.pkl: all predictions as the stock tools dump them',
    )
    parser.add_argument('--show-dir', metavar='DIR', help='write images with predictions to DIR')
    parser.add_argument('--classwise', action='store_true', help='AP of every class (COCO)')
    parser.add_argument(
        '--fast-eval',
        action='store_true',
        help='evaluate with faster-coco-eval: the same numbers, sooner (COCO)',
    )
    parser.add_argument(
        '--tta',
        action='store_true',
        help="test-time augmentation: the config's tta_model and tta_pipeline, else every image "
        'as it is and mirrored',
    )
    add_slice_arguments(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    if args.out:
        OutputFiles(args.out)  # refuses a bad name before the config is read
    slicing = read_slicing(args)
    session = open_session(args)
    session.test(
        args.checkpoint,
        out=args.out,
        show_dir=args.show_dir,
        classwise=args.classwise,
        fast_eval=args.fast_eval,
        tta=args.tta,
        slicing=slicing,
    )
    if session.written:
        print(f'wrote {", ".join(map(str, session.written))}')
    return 0
