"""Optimizer wrappers and constructors, and what becomes of a schedule that was changed."""
