"""Large images in overlapping slices: their positions, and merging what is found in them.

It needs only numpy and pycocotools; a model is a function from images to lists of objects.

Not here: running models and reading images (``inference/``, ``runtime/``).
"""

from .find import Slicing, find_in_slices

__all__ = ['Slicing', 'find_in_slices']
