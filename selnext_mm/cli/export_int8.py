"""``selnext-mm export --int8``: calibrated on some images, measured on others, kept if good."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selnext_mm.errors import UserError
from selnext_mm.text import preview

MOST = 200  # images that the ranges are taken from
LARGEST_LOSS = {'detector': 1.0, 'classifier': 0.5}  # of AP and of top-1, in percent


def add_int8_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--int8',
        action='store_true',
        help='--to onnx of a whole model: convolutions and linear layers in int8; gates, norms and '
        'last layers in float. What is lost is measured on --check-images (with --check-ann of a '
        'detector; a folder per class of a classifier)',
    )
    parser.add_argument(
        '--calibrate',
        nargs='+',
        metavar='IMAGES',
        help=f'for --int8: other images, for the ranges of values; {MOST} of them are used',
    )
    parser.add_argument(
        '--max-loss',
        type=float,
        metavar='POINTS',
        help='for --int8: nothing is written if more is lost (1.0 AP of a detector, 0.5 top-1 of a '
        'classifier)',
    )


def check_int8(args: argparse.Namespace) -> None:
    """Raise :class:`UserError` for options that do not go together."""
    if not args.int8:
        for name in ('calibrate', 'max_loss'):
            if getattr(args, name) is not None:
                raise UserError(f'--{name.replace("_", "-")} needs --int8')
        return
    if args.target != 'onnx':
        raise UserError(f'--int8 needs --to onnx, not --to {args.target}')
    if not args.calibrate:
        raise UserError('--int8 needs --calibrate IMAGES, images like those to come')
    if not args.check_images:
        raise UserError(
            '--int8 needs --check-images, labelled images to measure on what is lost: with '
            '--check-ann JSON of a detector, a folder with a folder per class of a classifier'
        )
    if args.max_loss is not None and not 0 <= args.max_loss < 100:
        raise UserError(f'--max-loss {args.max_loss:g}; expected points of AP or top-1, 0 to 100')


def calibration_images(args: argparse.Namespace) -> list[Path]:
    """Up to 200 of ``--calibrate``, evenly spaced.

    Raises:
        UserError: for an image that cannot be read, or is among ``--check-images``, too.
    """
    from selnext_mm.checkpoints.hub import sha256
    from selnext_mm.inference.images import list_images, why_unreadable

    images = list_images(args.calibrate)
    images = images[:: -(-len(images) // MOST)]
    for image in images:
        if reason := why_unreadable(image.path):
            raise UserError(f'--calibrate {image.path}: {reason}')
    measured = {sha256(i.path) for i in list_images(args.check_images) if i.path.is_file()}
    if both := [i.path.name for i in images if sha256(i.path) in measured]:
        raise UserError(
            f'{len(both)} images are in --calibrate and in --check-images ({preview(both, 3)}); '
            'what is lost has to be measured on others'
        )
    return [image.path for image in images]


def write_int8(args: argparse.Namespace, model: Any, graph: Any, path: Path) -> None:
    """Quantise the file of ``model`` (``runtime``'s) to ``path``, and say how many layers."""
    from selnext_mm.export.int8 import float_modules, quantize
    from selnext_mm.runtime.pictures import read_picture

    images = calibration_images(args)

    def feeds() -> Iterator[dict]:
        for image in images:
            pixels = read_picture(image)
            yield model.feed(model.prepare(pixels)[None], [pixels.shape[:2]])

    layers = quantize(model.path, path, feeds(), float_modules(graph))
    print(
        f'calibrated on {len(images)} images: {layers} layers in int8; gates, norms and the last '
        'layers in float',
        flush=True,
    )


def open_predictor(args: argparse.Namespace, **options):
    """The model in PyTorch, as ``predict`` has it."""
    from selnext_mm.config.build import quiet
    from selnext_mm.inference.predictor import Predictor

    with quiet():
        return Predictor(
            args.config,
            args.checkpoint,
            device='cpu',
            classes=args.classes,
            options=args.cfg_options,
            **options,
        )


def _within(args: argparse.Namespace, part: str, name: str, before: float, after: float) -> bool:
    """Show what is lost; is it little enough?"""
    most = LARGEST_LOSS[part] if args.max_loss is None else args.max_loss
    print(
        f'{name}: PyTorch {before:.2f}, int8 {after:.2f}, {before - after:.2f} lost (at most '
        f'{most:g})',
        flush=True,
    )
    return before - after <= most


def detector_holds(args: argparse.Namespace, path: Path) -> bool:
    """Is the AP of the file near enough to that of PyTorch?"""
    from selnext_mm.export.detection.coco_ap import compare_ap
    from selnext_mm.runtime.models import Detector

    scores = compare_ap(
        open_predictor(args, batch_size=1), Detector(path), args.check_images, args.check_ann
    )
    # A list, so that every line is shown.
    within = [
        _within(args, 'detector', f'{s.kind} AP on {args.check_ann}', s.torch, s.file)
        for s in scores
    ]
    return all(within)


def labels_of(names: list[str], classes: tuple[str, ...]) -> list[str]:
    """The class of images named ``folder/...``: folders are named as classes, or one per class.

    Raises:
        UserError: if they are neither.
    """
    folders = [name.split('/')[0] if '/' in name else '' for name in names]
    known = sorted(set(folders))
    if '' in known or (len(known) != len(classes) and not set(known) <= set(classes)):
        raise UserError(
            f'--check-images has the folders {preview(known)}; expected a folder per class, named '
            f'{preview(classes)}, or one for each of the {len(classes)} classes in their order'
        )
    if not set(known) <= set(classes):
        return [classes[known.index(folder)] for folder in folders]
    return folders


def _top1(find: Callable, images: list, labels: list[str]) -> float:
    """Accuracy in percent; an image that cannot be read is a mistake of the user."""
    records: list[dict] = []
    find(images, lambda record, _: records.append(record))
    for record in records:
        if 'error' in record:
            raise UserError(f'--check-images {record["path"]}: {record["error"]}')
    right = [record['classes'][0]['category'] == labels[record['index']] for record in records]
    return 100 * sum(right) / len(right)


def classifier_holds(args: argparse.Namespace, path: Path) -> bool:
    """Is the top-1 of the file near enough to that of PyTorch?"""
    from selnext_mm.inference.images import list_images
    from selnext_mm.runtime.models import Classifier

    model, images = Classifier(path, top_k=1), list_images(args.check_images)
    labels = labels_of([image.name for image in images], model.classes)
    before, after = (
        _top1(run, images, labels) for run in (open_predictor(args, top_k=1).run, model.run)
    )
    what = f'top-1 on {len(images)} images'
    return _within(args, 'classifier', what, before, after)


def say_written(out: Path, size: int, before: int) -> None:
    print(f'wrote {out}: {size / 1e6:.1f} MB, {before / 1e6:.1f} MB in float')


def export_int8_classifier(args: argparse.Namespace, graph: Any, metadata: dict, out: Path) -> int:
    """Write the classifier ``graph`` in int8 to ``out`` if it is right nearly as often."""
    import tempfile

    from selnext_mm.disk import new_file
    from selnext_mm.export.writers import write_onnx
    from selnext_mm.runtime.models import Classifier

    with tempfile.TemporaryDirectory() as folder, new_file(out, '--out') as path:
        source = Path(folder, 'float.onnx')
        write_onnx(graph, source, metadata, args.opset)
        write_int8(args, Classifier(source), graph, path)
        sizes = path.stat().st_size, source.stat().st_size
        if not (holds := classifier_holds(args, path)):
            path.unlink()
    if not holds:
        print('more is lost than --max-loss allows; nothing was written')
        return 1
    say_written(out, *sizes)
    return 0
