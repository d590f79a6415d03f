"""Fused operations on tensors; they know no module, no config and no file.

A whole SELNeXt block is in ``seln_block/``; the layers that call these are in ``models/``.
"""
