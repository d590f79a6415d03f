"""Importing this package registers every model class in mmengine's root registry."""

from . import attention, backbones, necks

__all__ = ['attention', 'backbones', 'necks']
