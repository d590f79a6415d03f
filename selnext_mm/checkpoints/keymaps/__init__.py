"""Other projects' weights under our names: one file per source, and a table in ``sources``.

``rules`` has the code that they share.

Not here: reading files, and whether the weights fit a model (``checkpoints/``).
"""
