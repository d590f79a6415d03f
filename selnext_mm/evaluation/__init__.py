"""Scores of predictions: COCO metrics and what follows from them. Registered on import.

Not here: drawing scores (``visualization/``), pages about them (``report/``).
"""

from selnext_mm.evaluation.class_predictions import ClassPredictions
from selnext_mm.evaluation.faster_coco import FasterCocoMetric

__all__ = ['ClassPredictions', 'FasterCocoMetric']
