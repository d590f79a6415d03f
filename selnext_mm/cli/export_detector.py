"""``selnext-mm export`` of a whole detector: written, then run beside ``predict``, then kept."""

import argparse
import copy
import json
import tempfile
from pathlib import Path

from selnext_mm.errors import UserError
from selnext_mm.inference.thresholds import read_thresholds
from selnext_mm.text import preview
from selnext_mm.visualization import SCORE_THR

HEADER = ' size  objects  unmatched  ties   box IoU  score error  mask IoU'


def _check_options(args: argparse.Namespace) -> None:
    if args.normalize:
        raise UserError('--normalize has no meaning for a whole detector, which always does it')
    if args.check:
        raise UserError('--check has no meaning for a whole detector; name --check-images')
    if args.check_ann and not args.check_images:
        raise UserError(f'--check-ann {args.check_ann} needs --check-images, its images')
    if args.check_ann and not Path(args.check_ann).is_file():
        raise UserError(f'--check-ann {args.check_ann}: no such file')
    if args.int8 and not args.check_ann:
        raise UserError('--int8 of a detector needs --check-ann, COCO labels of --check-images')


def _class_thresholds(args: argparse.Namespace, classes: tuple[str, ...]) -> dict[str, str]:
    """What the file says of ``--thresholds``; tells which classes have none."""
    if not args.thresholds:
        return {}
    scores = read_thresholds(args.thresholds, classes)
    without = [name for name, score in zip(classes, scores, strict=True) if score is None]
    rest = f', {SCORE_THR} for {preview(without)}' if without else ''
    print(f'lowest scores of {len(classes) - len(without)} classes from {args.thresholds}{rest}')
    return {
        'class_thresholds': json.dumps(scores),
        'class_thresholds_from': Path(args.thresholds).name,
    }


def _agree(args: argparse.Namespace, path: Path, folder: Path) -> bool:
    """Compare the file with ``predict`` and show it.

    Raises:
        UserError: if nothing is found in the images, so that nothing is shown.
    """
    from selnext_mm.cli.export_int8 import open_predictor
    from selnext_mm.export.detection.check import PICTURES, check_pictures, compare_detections
    from selnext_mm.runtime.models import Detector

    predictor = open_predictor(args, batch_size=1)
    images, source = check_pictures(predictor.loaded.cfg, args.check_images, folder)
    results, detector = [], Detector(path)
    few = images[:: max(1, len(images) // PICTURES)][:PICTURES] if args.check_ann else images
    print(f'beside predict, on {len(few)} images {source}, score error and lowest IoU:')
    print(HEADER)
    for row in compare_detections(predictor, detector, few, args.tolerance):
        mask = '-' if row.mask_iou is None else f'{row.mask_iou:.4f}'
        print(
            f'{row.factor:>5.0%}  {row.objects:>7}  {row.unmatched:>9}  {row.ties:>4}  '
            f'{row.iou:>8.4f}  {row.score:>11.1e}  {mask:>8}',
            flush=True,
        )
        results.append(row)
    if not sum(row.objects for row in results):
        raise UserError(
            f'the model finds nothing in the {len(images)} images {source}, so the file cannot '
            'be checked; name images with --check-images. Nothing was written'
        )
    return all(row.holds for row in results) and _same_ap(args, predictor, detector)


def _same_ap(args: argparse.Namespace, predictor, detector) -> bool:
    """With ``--check-ann``: show both AP; are they equal?"""
    if not args.check_ann:
        return True
    from selnext_mm.export.detection.coco_ap import compare_ap

    scores = compare_ap(predictor, detector, args.check_images, args.check_ann)
    for score in scores:
        print(
            f'{score.kind} AP on {args.check_ann}: PyTorch {score.torch:.2f}, file '
            f'{score.file:.2f}',
            flush=True,
        )
    return all(score.equal for score in scores)


def export_detector(args: argparse.Namespace, loaded, out: Path) -> int:
    """Write the detector ``loaded`` to ``out`` if it finds what ``predict`` finds.

    Raises:
        UserError: for a detector or pipeline that cannot be written.
    """
    from selnext_mm.cli.export import describe
    from selnext_mm.cli.export_int8 import detector_holds, say_written, write_int8
    from selnext_mm.disk import new_file
    from selnext_mm.export.detection.graph import DetectorGraph
    from selnext_mm.export.detection.metadata import detector_metadata
    from selnext_mm.export.detection.writer import write_detector
    from selnext_mm.export.merge import merge
    from selnext_mm.export.openvino import convert
    from selnext_mm.export.writers import BESIDE
    from selnext_mm.runtime.models import Detector

    _check_options(args)
    model = copy.deepcopy(loaded.model)
    merged = [] if args.no_deploy else merge(model)
    graph = DetectorGraph(model).eval()
    metadata = describe(args, loaded, 'detector') | detector_metadata(loaded, graph)
    metadata |= _class_thresholds(args, loaded.classes)
    form = ', '.join(merged) or 'as trained'
    print(f'detector of {args.config} ({form}): {", ".join(graph.outputs)}', flush=True)
    beside = BESIDE.get(args.target, ())
    with tempfile.TemporaryDirectory() as folder, new_file(out, '--out', *beside) as path:
        if args.int8:
            source = Path(folder, 'float.onnx')
            write_detector(graph, source, metadata, args.opset)
            write_int8(args, Detector(source), graph, path)
        elif args.target == 'onnx':
            write_detector(graph, path, metadata, args.opset)
        else:
            onnx_file = Path(folder, 'graph.onnx')
            write_detector(graph, onnx_file, {})
            convert(onnx_file, path, metadata)
        same = detector_holds(args, path) if args.int8 else _agree(args, path, Path(folder))
        before = source.stat().st_size if args.int8 else 0
        size = sum(p.stat().st_size for p in path.parent.glob(f'{path.stem}.*'))
        if not same:
            path.unlink()
    if args.int8:
        if not same:
            print('more is lost than --max-loss allows; nothing was written')
            return 1
        say_written(out, size, before)
        return 0
    if not same:
        print(
            'the file finds something else (objects without a partner, masks with an IoU below '
            '0.99, or another AP); nothing was written'
        )
        return 1
    print(f'wrote {out}: {size / 1e6:.1f} MB, finds what predict finds')
    return 0
