"""Whole models in int8: calibrated on some images, evaluated on others, kept if accurate."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selnext_mm.checkpoints.hub import sha256
from selnext_mm.config.build import quiet
from selnext_mm.disk import new_file
from selnext_mm.errors import UserError
from selnext_mm.export import int8
from selnext_mm.export.detection.coco_ap import compare_ap
from selnext_mm.export.graphs import Graph
from selnext_mm.export.openvino import convert
from selnext_mm.export.options import ExportOptions, MismatchError
from selnext_mm.export.writers import BESIDE
from selnext_mm.inference.images import list_images, why_unreadable
from selnext_mm.inference.predictor import Predictor
from selnext_mm.runtime.models import Classifier, Detector
from selnext_mm.runtime.pictures import read_picture
from selnext_mm.text import counted, preview

MOST = 200  # number of calibration images
LARGEST_LOSS = {'detector': 1.0, 'classifier': 0.5}  # of AP and of top-1, in percent


def calibration_images(options: ExportOptions) -> list[Path]:
    """Up to 200 of ``--calibrate``, evenly spaced.

    Raises:
        UserError: for an image that cannot be read, or is also among ``--check-images``.
    """
    images = list_images(options.calibrate)
    others = [i.path for i in list_images(options.check_images) if i.path.is_file()]
    places = {path.resolve() for path in others}
    both = [i.path.name for i in images if i.path.resolve() in places]
    if len(images) > MOST:
        images = [images[k * len(images) // MOST] for k in range(MOST)]
    for image in images:
        if reason := why_unreadable(image.path):
            raise UserError(f'{options.name_of("calibrate")} {image.path}: {reason}')
    measured = {sha256(path) for path in others}
    both = both or [i.path.name for i in images if sha256(i.path) in measured]
    if both:
        raise UserError(
            f'{counted(len(both), "image is", "images are")} in {options.name_of("calibrate")} and '
            f'in {options.name_of("check_images")} ({preview(both, 3)}); '
            'what is lost has to be measured on others'
        )
    return [image.path for image in images]


def write_int8(options: ExportOptions, model: Any, graph: Any, path: Path) -> None:
    """Quantise the file of ``model`` (``runtime``'s) to ``path``; report the number of layers."""
    images = calibration_images(options)

    def feeds() -> Iterator[dict]:
        for image in images:
            pixels = read_picture(image)
            yield model.feed(model.prepare(pixels)[None], [pixels.shape[:2]])

    layers = int8.quantize(model.path, path, feeds(), int8.float_modules(graph))
    options.say(
        f'calibrated on {counted(len(images), "image")}: {counted(layers, "layer")} in '
        'int8; gates, norms and the last '
        'layers in float',
    )


def open_predictor(options: ExportOptions, **more) -> Predictor:
    """The model in PyTorch, as ``predict`` uses it."""
    with quiet():
        return Predictor(
            options.config,
            options.checkpoint,
            device='cpu',
            classes=options.classes,
            options=options.cfg_options,
            **more,
        )


def _within(options: ExportOptions, part: str, name: str, before: float, after: float) -> bool:
    """Show the loss; return whether it is small enough."""
    most = LARGEST_LOSS[part] if options.max_loss is None else options.max_loss
    lost = f'{before - after:.2f}' if before > after else 'nothing'
    options.say(
        f'{name}: PyTorch {before:.2f}, int8 {after:.2f}, {lost} lost (at most {most:g})',
    )
    return before - after <= most


def detector_holds(options: ExportOptions, path: Path) -> bool:
    """Whether the AP of the file is close enough to that of PyTorch."""
    scores = compare_ap(
        open_predictor(options, batch_size=1),
        Detector(path),
        options.check_images,
        options.check_ann,
    )
    # A list, so that every line is shown.
    within = [
        _within(options, 'detector', f'{s.kind} AP on {options.labels}', s.torch, s.file)
        for s in scores
    ]
    return all(within)


def labels_of(names: list[str], classes: tuple[str, ...]) -> list[str]:
    """The class of images named ``folder/...``: folders named after classes, or one per class.

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
    """Accuracy in percent; an unreadable image is a mistake of the user."""
    records: list[dict] = []
    find(images, lambda record, _: records.append(record))
    for record in records:
        if 'error' in record:
            raise UserError(f'{record["path"]}: {record["error"]}')
    right = [record['classes'][0]['category'] == labels[record['index']] for record in records]
    return 100 * sum(right) / len(right)


def classifier_holds(options: ExportOptions, path: Path) -> bool:
    """Whether the top-1 of the file is close enough to that of PyTorch."""
    model, images = Classifier(path, top_k=1), list_images(options.check_images)
    labels = labels_of([image.name for image in images], model.classes)
    before, after = (
        _top1(run, images, labels) for run in (open_predictor(options, top_k=1).run, model.run)
    )
    what = f'top-1 on {counted(len(images), "image")}'
    return _within(options, 'classifier', what, before, after)


def export_int8(
    options: ExportOptions,
    graph: Graph,
    write: Callable[[Path], object],
    runtime: type,
    holds: Callable[[ExportOptions, Path], bool],
) -> None:
    """Write ``graph`` in int8 to ``out`` if the loss of accuracy is small enough.

    Args:
        options: those of the export.
        graph: the model.
        write: writes its float file.
        runtime: the class that runs the file, ``Classifier`` or ``Detector``.
        holds: shows the loss, and returns whether it is small enough.

    Raises:
        MismatchError: if the loss is more than ``max_loss``.
    """
    out, beside = Path(options.out), BESIDE.get(str(options.target), ())
    with tempfile.TemporaryDirectory() as folder, new_file(out, '--out', *beside) as path:
        source, low = Path(folder, 'float.onnx'), Path(folder, 'int8.onnx')
        write(source)
        write_int8(options, runtime(source), graph, low)
        if options.target == 'openvino':
            convert(low, path, runtime(low).metadata)
        else:
            shutil.copyfile(low, path)
        size = sum(p.stat().st_size for p in path.parent.glob(f'{path.stem}.*'))
        before = source.stat().st_size
        if not (kept := holds(options, path)):
            path.unlink()
    if not kept:
        raise MismatchError('more is lost than --max-loss allows; nothing was written')
    options.say(f'wrote {out}: {size / 1e6:.1f} MB, {before / 1e6:.1f} MB in float')
