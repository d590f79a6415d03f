"""Fused operations on tensors, independent of modules, configs and files.

The complete SELNeXt block is in ``seln_block/``; the layers that call these are in ``models/``.
"""
