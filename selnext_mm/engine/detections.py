"""What a detector found in one image, as plain data."""

from typing import Any

import numpy as np
import torch


def detections(sample: Any) -> list[dict]:
    """Label, score, box and mask of every object of an mmdet ``DetDataSample``.

    ``bbox`` is (x, y, w, h) in pixels of the image, computed as mmdet's ``CocoMetric`` does;
    ``segmentation`` is a compressed RLE.
    """
    found = sample.pred_instances
    boxes, scores, labels = (found[k].cpu().numpy() for k in ('bboxes', 'scores', 'labels'))
    result = []
    for box, score, label in zip(boxes.tolist(), scores.tolist(), labels.tolist(), strict=True):
        x, y, right, bottom = box
        result.append(dict(label=label, score=score, bbox=[x, y, right - x, bottom - y]))
    if 'masks' in found:
        from pycocotools import mask as mask_utils

        masks = found.masks
        masks = masks.cpu().numpy() if isinstance(masks, torch.Tensor) else np.asarray(masks)
        for item, mask in zip(result, masks, strict=True):
            rle = mask_utils.encode(np.asfortranarray(mask.astype(np.uint8)))
            item['segmentation'] = dict(size=list(rle['size']), counts=rle['counts'].decode())
    return result
