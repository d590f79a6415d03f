"""Label maps of a segmentation data set converted to objects that can be drawn."""

import copy

import cv2
import numpy as np
from pycocotools import mask as mask_utils

from selnext_mm.datasets.semantic_maps import BACKGROUND, IGNORED
from selnext_mm.visualization.draw import Instance

SMALLEST = 16  # minimum pixels of a region that is drawn


def regions(labels: np.ndarray, names: list[str]) -> list[Instance]:
    """The connected regions of each label of a map (H, W), except ignored and background."""
    found = []
    for label in np.unique(labels).tolist():
        if label == IGNORED or (label < len(names) and names[label] == BACKGROUND):
            continue
        mask = (labels == label).astype(np.uint8)
        _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        for number, (x, y, width, height, area) in enumerate(stats.tolist()):
            if number and area >= SMALLEST:  # number 0 is everything with another label
                shape = mask_utils.encode(np.asfortranarray(numbers == number))
                found.append(Instance(label, [x, y, width, height], shape))
    return found


def labels_of(dataset, item: dict) -> np.ndarray:
    """The labels (H, W) of an mmseg item before its pipeline, numbered as in training."""
    steps = [s for s in dataset.pipeline.transforms if type(s).__name__ == 'LoadAnnotations']
    return steps[0](copy.deepcopy(item))['gt_seg_map']
