"""Fused operations on tensors, independent of modules, configs and files.

The complete SELNeXt block is in ``seln_block/``. Not here: the layers that call these
(``models/``).
"""
