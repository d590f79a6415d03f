"""A :class:`DetectorGraph` as an ONNX file of standard operators."""

from pathlib import Path

import torch

from selnext_mm.export.detection.graph import INPUTS, DetectorGraph
from selnext_mm.export.detection.translations import translation_table
from selnext_mm.export.writers import quiet_exporter

# Two images, and no map with a side of 1 down to stride 128: a 1 would become a constant.
EXAMPLE = (2, 256, 320, 3)
# The exporter's name for the number of detections, which no input determines.
UNNAMED = 'u0'


def _name_detections(model) -> None:
    """Name the dynamic number of detections ``detections`` wherever the graph mentions it."""
    import onnx_ir as ir

    values = [*model.graph.outputs, *(v for node in model.graph for v in node.outputs)]
    for value in values:
        if value.shape is None or UNNAMED not in [getattr(d, 'value', d) for d in value.shape]:
            continue
        value.shape = ir.Shape(
            'detections' if getattr(d, 'value', d) == UNNAMED else d for d in value.shape
        )


def write_detector(
    graph: DetectorGraph, path: Path, metadata: dict[str, str], opset: int | None = None
) -> None:
    """Write ``graph`` with dynamic batch, height, width and number of detections.

    Inputs ``images`` and ``sizes``, outputs as :class:`DetectorGraph` gives them. ``metadata`` goes
    into the file's ``metadata_props``.
    """
    import onnx

    example = torch.zeros(EXAMPLE, dtype=torch.uint8), torch.tensor([EXAMPLE[1:3]] * EXAMPLE[0])
    auto = torch.export.Dim.AUTO
    names = [{0: 'batch', 1: 'height', 2: 'width'}, {0: 'batch'}]
    with quiet_exporter(), torch.no_grad():
        traced = torch.export.export(
            graph, example, dynamic_shapes=[dict.fromkeys(n, auto) for n in names], strict=False
        )
        program = torch.onnx.export(
            traced,
            dynamo=True,
            verbose=False,
            input_names=list(INPUTS),
            output_names=list(graph.outputs),
            dynamic_shapes=names,
            opset_version=opset,
            custom_translation_table=translation_table(),
        )
        _name_detections(program.model)
        program.model.metadata_props.update(metadata)
        program.save(path, external_data=False)
        onnx.checker.check_model(path)
