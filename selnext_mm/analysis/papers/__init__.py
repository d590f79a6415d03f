"""The papers' printed figures, and how to compare a count with them; no results of our own.

Not here: counting a model (``analysis/``).
"""
