"""Attention modules, one per file; each takes ``in_channels`` first."""

from .na import NAModule
from .seln import SELN

__all__ = ['SELN', 'NAModule']
