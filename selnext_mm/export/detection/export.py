"""A whole detector as a file: written, compared with ``predict``, and then kept."""

import copy
import json
import tempfile
from pathlib import Path

from selnext_mm.disk import new_file
from selnext_mm.errors import UserError
from selnext_mm.export.detection import writer
from selnext_mm.export.detection.check import (
    PICTURES,
    check_pictures,
    compare_detections,
    given_pictures,
)
from selnext_mm.export.detection.coco_ap import compare_ap, known_images
from selnext_mm.export.detection.graph import DetectorGraph
from selnext_mm.export.detection.metadata import detector_metadata
from selnext_mm.export.int8_models import (
    calibration_images,
    detector_holds,
    export_int8,
    open_predictor,
)
from selnext_mm.export.merge import merge
from selnext_mm.export.openvino import convert
from selnext_mm.export.options import ExportOptions, MismatchError
from selnext_mm.export.writers import BESIDE
from selnext_mm.inference.categories import find_ids
from selnext_mm.inference.loading import LoadedModel
from selnext_mm.inference.thresholds import read_thresholds
from selnext_mm.runtime.models import Detector
from selnext_mm.text import counted, preview
from selnext_mm.visualization import SCORE_THR

HEADER = ' size  objects  unmatched  ties   box IoU  score error  mask IoU'


def _check_options(options: ExportOptions) -> None:
    if options.normalize:
        raise UserError('--normalize has no meaning for a whole detector, which always does it')
    if options.check:
        raise UserError('--check has no meaning for a whole detector; name --check-images')
    if options.check_ann and not options.check_images:
        raise UserError(f'--check-ann {options.check_ann} needs --check-images, its images')
    if options.check_ann and not Path(options.check_ann).is_file():
        raise UserError(f'--check-ann {options.check_ann}: no such file')
    if options.int8 and not options.check_ann:
        raise UserError('--int8 of a detector needs --check-ann, COCO labels of --check-images')


def _check_images(options: ExportOptions, loaded: LoadedModel) -> None:
    """Raise :class:`UserError` for images or labels that the comparison, minutes later, refuses."""
    if options.check_images:
        images = given_pictures(options.check_images, options.name_of('check_images'))
        if options.check_ann:
            ids = find_ids(loaded.cfg, loaded.classes, options.check_ann)
            known_images(ids, [image.name for image in images])
    if options.int8:
        calibration_images(options)


def _class_thresholds(options: ExportOptions, classes: tuple[str, ...]) -> dict[str, str]:
    """The metadata for ``--thresholds``; reports which classes have none."""
    if not options.thresholds:
        return {}
    scores = read_thresholds(options.thresholds, classes)
    without = [name for name, score in zip(classes, scores, strict=True) if score is None]
    rest = f', {SCORE_THR} for {preview(without)}' if without else ''
    scored = counted(len(classes) - len(without), 'class')
    options.say(f'lowest scores of {scored} from {options.thresholds}{rest}')
    return {
        'class_thresholds': json.dumps(scores),
        'class_thresholds_from': Path(options.thresholds).name,
    }


def _agree(options: ExportOptions, path: Path, folder: Path) -> bool:
    """Compare the file with ``predict`` and show the result.

    Raises:
        UserError: if nothing is found in the images, which would prove nothing.
    """
    predictor = open_predictor(options, batch_size=1)
    images, source = check_pictures(predictor.loaded.cfg, options.check_images, folder)
    results, detector = [], Detector(path)
    few = images[:: max(1, len(images) // PICTURES)][:PICTURES] if options.check_ann else images
    number = counted(len(few), 'image')
    options.say(f'beside predict, on {number} {source}, score error and lowest IoU:')
    options.say(HEADER)
    for row in compare_detections(predictor, detector, few, options.tolerance):
        mask = '-' if row.mask_iou is None else f'{row.mask_iou:.4f}'
        options.say(
            f'{row.factor:>5.0%}  {row.objects:>7}  {row.unmatched:>9}  {row.ties:>4}  '
            f'{row.iou:>8.4f}  {row.score:>11.1e}  {mask:>8}',
        )
        results.append(row)
    if not sum(row.objects for row in results):
        raise UserError(
            f'the model finds nothing in {counted(len(images), "image")} {source}, so the file '
            'cannot be checked; name images with --check-images. Nothing was written'
        )
    for row in results:
        if row.differing:
            options.say(f'without a partner at {row.factor:.0%}: {preview(row.differing)}')
    return all(row.holds for row in results) and _same_ap(options, predictor, detector)


def _same_ap(options: ExportOptions, predictor, detector) -> bool:
    """With ``--check-ann``: show both APs; return whether they are equal."""
    if not options.check_ann:
        return True
    options.say('AP of both, on all images')
    scores = compare_ap(predictor, detector, options.check_images, options.check_ann)
    for score in scores:
        options.say(
            f'{score.kind} AP on {options.labels}: PyTorch {score.torch:.2f}, file '
            f'{score.file:.2f}',
        )
    return all(score.equal for score in scores)


def export_detector(options: ExportOptions, loaded: LoadedModel, metadata: dict[str, str]) -> None:
    """Write the detector ``loaded`` to ``out`` if it finds what ``predict`` finds.

    ``metadata`` are the facts about any model; those about a detector are added.

    Raises:
        UserError: for a detector or pipeline that cannot be written.
        MismatchError: if it finds something else.
    """
    _check_options(options)
    _check_images(options, loaded)
    model = copy.deepcopy(loaded.model)
    merged = [] if options.no_deploy else merge(model, str(options.target), options.int8)
    graph = DetectorGraph(model).eval()
    metadata = metadata | detector_metadata(loaded, graph)
    metadata |= _class_thresholds(options, loaded.classes)
    form = ', '.join(merged) or 'as trained'
    options.say(f'detector of {options.config} ({form}): {", ".join(graph.outputs)}')
    options.say('writing the graph; this may take some minutes')

    def write(path: Path) -> None:
        writer.write_detector(graph, path, metadata, options.opset)

    if options.int8:
        export_int8(options, graph, write, Detector, detector_holds)
        return
    out, beside = Path(options.out), BESIDE.get(str(options.target), ())
    with tempfile.TemporaryDirectory() as folder, new_file(out, '--out', *beside) as path:
        if options.target == 'onnx':
            write(path)
        else:
            onnx_file = Path(folder, 'graph.onnx')
            writer.write_detector(graph, onnx_file, {})
            convert(onnx_file, path, metadata)
        same = _agree(options, path, Path(folder))
        size = sum(p.stat().st_size for p in path.parent.glob(f'{path.stem}.*'))
        if not same:
            path.unlink()
    if not same:
        raise MismatchError(
            'the file finds something else (objects without a partner, masks with an IoU below '
            '0.99, or another AP); nothing was written'
        )
    options.say(f'wrote {out}: {size / 1e6:.1f} MB, finds what predict finds')
