"""The SELNeXt block as one operation: its equations, and the fast kernels for each device.

Only code for a complete block belongs here. Single fused layers are in :mod:`selnext_mm.ops`; the
modules that make up a block are in :mod:`selnext_mm.models.backbones`.

``equations`` has the block as in the paper, ``dispatch`` chooses, ``cpu_*`` and ``gpu_*`` run on a
CPU and on a GPU, ``recompute`` runs on any device.
"""
