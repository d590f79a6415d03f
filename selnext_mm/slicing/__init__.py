"""Large images in overlapping slices: where they lie, and how what is found in them is joined.

Numpy and pycocotools alone; a model is a function from images to lists of objects.

Not here: running models and reading images (``inference/``, ``runtime/``).
"""

from .find import Slicing, find_in_slices

__all__ = ['Slicing', 'find_in_slices']
