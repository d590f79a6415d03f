"""From labels, a model's name and a few options to a whole config, and to a run.

Not here: reading labels (``datasets/formats/``), the training itself (``engine/``).
"""

from selnext_mm.recipes.options import Options
from selnext_mm.recipes.resolve import resolve

__all__ = ['Options', 'resolve']
