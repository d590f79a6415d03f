"""Export a trained model to a file, kept only if it matches PyTorch: ``selnext-mm export``."""

import copy
import json
from pathlib import Path
from typing import get_type_hints

import torch

from selnext_mm import __version__
from selnext_mm.checkpoints.files import load_file, save_file
from selnext_mm.checkpoints.hub import local_path, sha256
from selnext_mm.config.build import quiet
from selnext_mm.disk import new_file
from selnext_mm.errors import UserError, check_types, typed
from selnext_mm.export import writers
from selnext_mm.export.check import SHAPES, compare
from selnext_mm.export.detection.check import given_pictures
from selnext_mm.export.detection.export import export_detector
from selnext_mm.export.graphs import Graph, build_graph, choose_part, preprocessing
from selnext_mm.export.int8_models import (
    calibration_images,
    classifier_holds,
    export_int8,
    labels_of,
)
from selnext_mm.export.labelled import add_labelled_images
from selnext_mm.export.merge import merge
from selnext_mm.export.options import ExportOptions, MismatchError, check_options
from selnext_mm.export.pipeline import classifier_metadata
from selnext_mm.inference.loading import LoadedModel, load_for_inference
from selnext_mm.runtime.models import Classifier
from selnext_mm.text import counted, did_you_mean


@typed('export_model')
def export_model(config: str | Path, checkpoint: str | Path, out: str | Path, **options) -> Path:
    """Write a trained model to the file ``out``, and compare the file with PyTorch.

    Args:
        config: a config file, or a name under ``configs/``.
        checkpoint: .pth or .safetensors.
        out: ends in .onnx, .xml (OpenVINO), .pt2 (torch.export) or .safetensors.
        options: further options of the command, named as in
            :class:`~selnext_mm.export.options.ExportOptions`.

    Returns:
        The file.

    Raises:
        UserError: for a mistake in the options, or a model that cannot be written.
        MismatchError: if the file gives other results than PyTorch; it is removed.
    """
    hints = get_type_hints(ExportOptions)
    del hints['sources']
    if unknown := sorted(set(options) - set(hints)):
        raise UserError(
            f'export_model() has no option {unknown[0]!r}{did_you_mean(unknown[0], hints)}'
        )
    check_types('export_model', hints, options)
    asked = ExportOptions(str(config), str(checkpoint), out, **options)
    check_options(asked)
    with quiet():
        loaded = load_for_inference(
            asked.config,
            asked.checkpoint,
            'cpu',
            classes=asked.classes,
            options=asked.cfg_options,
            deployed=False,
        )
    if asked.target == 'safetensors':
        _export_weights(asked, loaded)
    else:
        _export_graph(asked, loaded)
    return Path(asked.out)


def _describe(options: ExportOptions, loaded: LoadedModel, part: str) -> dict[str, str]:
    """What a program needs to feed the file, and where the file comes from."""
    mean, std, order = preprocessing(loaded.model)
    return {
        'part': part,
        'classes': json.dumps(loaded.classes),
        'channels': order,
        'mean': json.dumps([round(v, 4) for v in mean.flatten().tolist()]),
        'std': json.dumps([round(v, 4) for v in std.flatten().tolist()]),
        'normalized_inside': str(options.normalize).lower(),
        'config': Path(options.config).name,
        'checkpoint_sha256': sha256(local_path(options.checkpoint)),
        'producer': f'selnext_mm {__version__}',
    }


def _export_weights(options: ExportOptions, loaded: LoadedModel) -> None:
    """All weights as safetensors, with the classes in the header; read back and compared."""
    state, out = loaded.model.state_dict(), Path(options.out)
    with new_file(out, '--out') as path:
        save_file(state, path, _describe(options, loaded, 'weights'))
        again = load_file(path)
        if again.keys() != state.keys() or any(
            not torch.equal(again[k], state[k].cpu()) for k in state
        ):
            raise UserError(f'{out} does not read back as it was written; nothing is left there')
        size = path.stat().st_size
    options.say(
        f'wrote {out}: {counted(len(state), "tensor")}, {size / 1e6:.1f} MB, read back bit by bit'
    )


def _export_graph(options: ExportOptions, loaded: LoadedModel) -> None:
    part = choose_part(loaded.model, options.part, options.target)
    metadata = _describe(options, loaded, part)
    if part == 'detector' or options.int8:
        add_labelled_images(options, loaded, part)
    if part == 'detector':
        export_detector(options, loaded, metadata)
        return
    whole = part == 'classifier' and options.int8
    if options.int8 and not whole:
        raise UserError(f'--int8 is for whole models, not for --part {part}')
    for name in ('check_images', 'check_ann', 'data', 'thresholds'):
        if getattr(options, name) and not (whole and name in ('check_images', 'data')):
            option = name.replace('_', '-')
            raise UserError(f'--{option} has no meaning with --part {part}; it is for a detector')
    if whole:  # minutes before they are used
        images = given_pictures(options.check_images, options.name_of('check_images'))
        labels_of([image.name for image in images], loaded.classes)
        calibration_images(options)
    reference = build_graph(loaded.model, part, options.normalize)
    model = copy.deepcopy(loaded.model)
    merged = [] if options.no_deploy else merge(model, str(options.target), options.int8)
    graph = build_graph(model, part, options.normalize)
    if part == 'classifier':
        metadata |= classifier_metadata(loaded)
        if 'activation' not in metadata:
            options.say(
                f'the scores of a {type(loaded.model.head).__name__} are not the softmax of its '
                'logits: other programs can run the file, "selnext-mm predict" and "serve" cannot'
            )
    form = ', '.join(merged) or 'as trained'
    options.say(f'{part} of {options.config} ({form}): {", ".join(graph.outputs)}')
    if options.int8:

        def write(path: Path) -> None:
            writers.write_onnx(graph, path, metadata, options.opset)

        export_int8(options, graph, write, Classifier, classifier_holds)
        return
    _write_and_compare(options, graph, reference, metadata)


def _write_and_compare(
    options: ExportOptions, graph: Graph, reference: Graph, metadata: dict[str, str]
) -> None:
    out, target = Path(options.out), str(options.target)
    # Noise with the range of images: around 0 after the normalisation, around 128 before it.
    scale = (128.0, 50.0) if options.normalize else (0.0, 1.0)
    with new_file(out, '--out', *writers.BESIDE.get(target, ())) as path:
        if target == 'onnx':
            run = writers.write_onnx(graph, path, metadata, options.opset)
        elif target == 'openvino':
            run = writers.write_openvino(graph, path, metadata)
        else:
            run = writers.write_torch_export(graph, path, metadata)
        worst = 0.0
        options.say(f'{"input":>16}  {"max abs error":>13}  {"largest output":>14}')
        for d in compare(reference, run, tuple(options.check or SHAPES), scale):
            n, h, w = d.shape
            options.say(f'{f"{n}x3x{h}x{w}":>16}  {d.error:13.2e}  {d.scale:14.4g}')
            worst = max(worst, d.relative)
        size = path.stat().st_size
        if worst > options.tolerance:
            path.unlink()
    limit = f'{options.tolerance:g}'
    if worst > options.tolerance:
        raise MismatchError(f'error {worst:.2e} is above --tolerance {limit}; nothing was written')
    options.say(f'wrote {out}: {size / 1e6:.1f} MB, largest error {worst:.2e} (tolerance {limit})')
