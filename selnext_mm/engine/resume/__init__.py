"""Saving and going on: checkpoints, which one is next (``lineage``), the place in the data.

Not here: writing and verifying one file (``checkpoints/``), other hooks (``engine/hooks/``).
"""
