"""Attention modules, one per file; each takes ``in_channels`` first."""

from .seln import SELN

__all__ = ['SELN']
