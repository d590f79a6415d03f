"""Weights in files: reading without running code, checksums, which weights fit a model.

Not here: which checkpoint a run resumes from (``engine/resume/``).
"""
