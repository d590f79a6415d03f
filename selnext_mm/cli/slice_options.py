"""``--slice`` and ``--overlap``, of predict and test."""

import argparse
from collections.abc import Callable

from selnext_mm.errors import UserError
from selnext_mm.slicing import Slicing


def add_slice_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--slice',
        type=int,
        metavar='PIXELS',
        help='of a detector: look at slices of PIXELS x PIXELS and at the whole image; for small '
        'objects in large images',
    )
    parser.add_argument(
        '--overlap', type=float, help='share of a slice that its neighbour has, too (0.2)'
    )


def read_slicing(args: argparse.Namespace, batch: int = 4) -> Slicing | None:
    """The settings from the options; None without ``--slice``."""
    if args.slice is None:
        if args.overlap is not None:
            raise UserError(f'--overlap {args.overlap:g} needs --slice')
        return None
    return Slicing(args.slice, 0.2 if args.overlap is None else args.overlap, batch)


def in_slices(opened_by: Callable, slicing: Slicing) -> Callable:
    """``opened_by`` with a predictor that runs on slices."""

    def opened(args: argparse.Namespace) -> tuple:
        from selnext_mm.inference.sliced import Sliced

        predictor, ids = opened_by(args)
        if predictor.loaded.is_classifier:
            raise UserError(f'--slice {slicing.size}: a classifier finds no objects')
        return Sliced(predictor, slicing), ids

    return opened
