"""From labels, a model's name and a few options to a config that runs by itself, and to a run."""

from selnext_mm.recipes.options import Options
from selnext_mm.recipes.resolve import resolve

__all__ = ['Options', 'resolve']
