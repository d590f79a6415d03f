"""Backbones for classification and detection."""

from .mobilenet_v3 import AttentionMobileNetV3
from .selnext import SELNeXt

__all__ = ['AttentionMobileNetV3', 'SELNeXt']
