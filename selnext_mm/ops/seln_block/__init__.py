"""The SELNeXt block as one operation: its equations, and what computes them fast on which device.

Here belongs what computes a whole block. Single fused layers are in :mod:`selnext_mm.ops`; which
modules make up a block is known to :mod:`selnext_mm.models.backbones`.

``equations`` the block as the paper has it, ``dispatch`` the choice, ``cpu_*`` and ``gpu_*`` what
runs on a CPU and on a GPU, ``recompute`` what runs on any device.
"""
