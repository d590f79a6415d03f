"""The metadata of a detector's file, in addition to those of every exported file."""

import json
from pathlib import Path

from selnext_mm.export.detection.graph import DetectorGraph
from selnext_mm.export.pipeline import plain_steps
from selnext_mm.inference.categories import find_ids
from selnext_mm.inference.loading import LoadedModel


def detector_metadata(loaded: LoadedModel, graph: DetectorGraph) -> dict[str, str]:
    """Names, thresholds and pipeline steps as strings; JSON for anything longer than a word.

    Raises:
        UserError: if the config's test pipeline cannot be written as plain steps.
    """
    ids = find_ids(loaded.cfg, loaded.classes)
    head = graph.detections
    result = dict(
        inputs='images: uint8 (N, H, W, 3), resized by the pipeline; '
        'sizes: int64 (N, 2), height and width of the original images',
        outputs=json.dumps(graph.outputs),
        normalized_inside='true',
        pipeline=json.dumps(plain_steps(loaded.cfg)),
        size_divisor=str(graph.divisor),
        score_threshold=repr(float(head.score_thr)),
        nms_iou_threshold=repr(head.suppress.iou_threshold),
        max_detections=str(head.suppress.limit),
        category_ids=json.dumps([ids.categories[name] for name in loaded.classes]),
        # Not the path, which says where this machine has it.
        category_ids_from=Path(ids.source).name,
    )
    if graph.masks is not None:
        result['mask_threshold'] = repr(graph.masks.threshold)
    return result
