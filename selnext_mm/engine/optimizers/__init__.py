"""Optimizer wrappers and constructors, and the handling of a changed schedule on resume.

Not here: which lr and schedule a run gets (``recipes/``, ``configs/``).
"""
