"""Optimizer wrappers and constructors, and what becomes of a schedule that was changed.

Not here: which lr and schedule a run gets (``recipes/``, ``configs/``).
"""
