"""Backbones for classification and detection."""

from .patnet import PATNet
from .selnext import SELNeXt

__all__ = ['PATNet', 'SELNeXt']
