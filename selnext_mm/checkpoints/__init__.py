"""Weights in files: reading without running code, checksums, what fits a model.

Not here: which checkpoint a run goes on from (``engine/resume/``).
"""
