"""The SELNeXt block as one operation: its equations, and the fast kernels for each device.

Not here: single fused layers (``ops/``), the modules that make up a block
(``models/backbones/``).

``equations`` has the block as in the paper, ``dispatch`` chooses, ``cpu_*`` and ``gpu_*`` run on a
CPU and on a GPU, ``recompute`` runs on any device.
"""
