"""``selnext-mm predict model.onnx IMAGES``: the same command on an exported file, without torch."""

import argparse
from pathlib import Path
from types import SimpleNamespace

from selnext_mm.cli.parser import Parser
from selnext_mm.cli.predict import (
    TOP_K,
    TOP_K_HELP,
    add_shared_arguments,
    check,
    refuse_unused,
    run,
)
from selnext_mm.datasets.image_suffixes import IMAGE_SUFFIXES
from selnext_mm.errors import UserError
from selnext_mm.runtime.sessions import SUFFIXES

# An exported file contains its classes and dtype, and its runtime uses the CPU.
OF_CHECKPOINTS = ('device', 'classes', 'dtype')
EPILOG = """examples:
  selnext-mm predict detector.onnx photo.jpg holiday/ 'more/**/*.png' --out predicted
  selnext-mm predict detector.xml val2017 --ann instances_val2017.json --out p

written to DIR are the files that selnext-mm predict CONFIG CHECKPOINT IMAGES writes; classes,
thresholds and the preparation of the images are those that the file holds
"""


def refuse_checkpoint_options(args: argparse.Namespace) -> None:
    """Raise :class:`UserError` for an option that only a checkpoint, run by PyTorch, has."""
    for name in OF_CHECKPOINTS:
        if (value := getattr(args, name)) is not None:
            given = ' '.join(value) if isinstance(value, list) else value
            raise UserError(
                f'--{name} {given} is for a checkpoint, which PyTorch runs; {args.model} is an '
                f'exported file: leave out --{name}, or give CONFIG and CHECKPOINT'
            )


def is_meant(argv: list[str]) -> bool:
    """Whether an argument is an exported model."""
    return any(argument.endswith(SUFFIXES) for argument in argv)


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm predict',
        description='Run an exported detector or classifier over images, without PyTorch.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('model', metavar='MODEL', help='.onnx, or .xml of OpenVINO')
    add_shared_arguments(result)
    result.add_argument('--top-k', type=int, help=TOP_K_HELP)
    result.add_argument('--threads', type=int, help="(as many as the machine's cores)")
    for name in OF_CHECKPOINTS:
        many = '+' if name == 'classes' else None
        result.add_argument(f'--{name}', nargs=many, help=argparse.SUPPRESS)
    result.set_defaults(batch_size=None, usual_batch=1)
    return result


def open_file(args: argparse.Namespace) -> tuple:
    """The model, with the attributes that the command reads, and category and image ids."""
    import json

    from selnext_mm.inference.categories import Ids, find_ids
    from selnext_mm.runtime.models import Detector, open_model

    refuse_checkpoint_options(args)
    model = open_model(args.model, threads=args.threads, top_k=args.top_k or TOP_K)
    refuse_unused(not isinstance(model, Detector), args.score_thr, args.top_k)
    meta = model.metadata
    if args.ann:
        ids = find_ids(None, model.classes, args.ann)
    else:
        numbers = json.loads(meta.get('category_ids', 'null')) or range(1, len(model.classes) + 1)
        names = dict(zip(model.classes, numbers, strict=True))
        ids = Ids(names, meta.get('category_ids_from', args.model))
    loaded = SimpleNamespace(is_classifier=not isinstance(model, Detector), source=args.model)
    place = f'cpu by {model.session.name}'
    result = SimpleNamespace(loaded=loaded, device=place, classes=model.classes)
    for name in ('run', 'find', 'find_many', 'pictures', 'thresholds'):
        setattr(result, name, getattr(model, name))
    return result, ids


def refuse_companions(args: argparse.Namespace) -> None:
    """Raise :class:`UserError` for a config, an image or another model next to an exported file."""
    files = [image for image in args.images if image.endswith(SUFFIXES)]
    if not files:
        return
    meant = f'selnext-mm predict {files[0]} IMAGES --out DIR'
    if args.model.endswith(SUFFIXES):
        raise UserError(f'{args.model} and {files[0]} are two models; give one of them')
    if Path(args.model).suffix.lower() in IMAGE_SUFFIXES:
        raise UserError(f'{args.model} is an image; give the model first: {meant}')
    raise UserError(f'{files[0]} needs no config: leave out {args.model}: {meant}')


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    refuse_companions(args)
    check(args)
    if args.threads is not None and args.threads < 1:
        raise UserError(f'--threads {args.threads}; expected 1 or more')
    return run(args, open_file)
