"""The operators of ``operators.py`` in ONNX: NonMaxSuppression, RoiAlign and their inputs."""

from collections.abc import Callable, Sequence

import torch

# Boxes have a score of 0 or more, empty entries -1.
LOWEST_SCORE = -0.5


def translation_table() -> dict[Callable, Callable]:
    """The ``custom_translation_table`` for ``torch.onnx.export``."""
    from onnx import TensorProto
    from onnxscript import opset18 as op

    # Importing them registers the operators.
    from selnext_mm.export.detection import operators  # noqa: F401

    def ints(*values: int):
        return op.Constant(value_ints=list(values))

    def nms_keep(boxes, scores, iou_threshold: float, limit: int):
        selected = op.NonMaxSuppression(
            boxes,
            op.Unsqueeze(scores, ints(1)),
            ints(limit),
            op.Constant(value_floats=[iou_threshold]),
            op.Constant(value_floats=[LOWEST_SCORE]),
        )
        places = op.Gather(selected, ints(0, 2), axis=1)  # (row, class, box): there is one class
        ones = op.Expand(op.Constant(value_float=1.0), op.Shape(places, start=0, end=1))
        zeros = op.Expand(op.Constant(value_float=0.0), op.Shape(scores))
        # Not every runtime can scatter booleans.
        kept = op.ScatterND(zeros, places, ones)
        return op.Greater(kept, op.Constant(value_float=0.5))

    def roi_align_pyramid(
        maps: Sequence,
        rois,
        levels,
        scales: Sequence[float],
        size: int,
        sampling_ratio: int,
    ):
        image = op.Cast(op.Gather(rois, op.Constant(value_int=0), axis=1), to=TensorProto.INT64)
        boxes = op.Gather(rois, ints(1, 2, 3, 4), axis=1)
        order, parts = [], []
        for i, (x, scale) in enumerate(zip(maps, scales, strict=True)):
            # Only the boxes of this level: a large box on too fine a map has hundreds of points.
            places = op.Squeeze(op.NonZero(op.Equal(levels, op.Constant(value_int=i))), ints(0))
            order.append(places)
            parts.append(
                op.RoiAlign(
                    x,
                    op.Gather(boxes, places, axis=0),
                    op.Gather(image, places, axis=0),
                    coordinate_transformation_mode='half_pixel',
                    mode='avg',
                    output_height=size,
                    output_width=size,
                    sampling_ratio=sampling_ratio,
                    spatial_scale=scale,
                )
            )
        if len(parts) == 1:
            return parts[0]
        order = op.Concat(*order, axis=0)
        count = op.Shape(order)
        zero, one = op.Constant(value_int=0), op.Constant(value_int=1)
        numbers = op.Range(zero, op.Squeeze(count), one)
        where = op.ScatterElements(op.Expand(zero, count), order, numbers)
        return op.Gather(op.Concat(*parts, axis=0), where, axis=0)

    ours = torch.ops.selnext_mm
    return {
        ours.nms_keep.default: nms_keep,
        ours.roi_align_pyramid.default: roi_align_pyramid,
    }
