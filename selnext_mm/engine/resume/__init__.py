"""Saving and going on: checkpoints, which one is next (``lineage``), the place in the data."""
