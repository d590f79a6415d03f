"""Labels of any common format, detected automatically and converted once to COCO files.

Not here: whether the labels are fit to train on (``datasets/check/``).
"""

from selnext_mm.datasets.formats.detect import FORMATS
from selnext_mm.datasets.formats.find import find_dataset
from selnext_mm.datasets.formats.records import DatasetInfo, Split

__all__ = ['FORMATS', 'DatasetInfo', 'Split', 'find_dataset']
