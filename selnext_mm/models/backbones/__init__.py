"""Backbones for classification and detection."""

from .selnext import SELNeXt

__all__ = ['SELNeXt']
