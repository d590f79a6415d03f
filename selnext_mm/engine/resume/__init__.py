"""Saving and resuming: checkpoints, the one to resume from (``lineage``), the place in the data.

Not here: writing and verifying one file (``checkpoints/``), other hooks (``engine/hooks/``).
"""
