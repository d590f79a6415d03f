"""Is the data fit to train on? One file per kind of check; ``config`` runs them for a config.

Reads and reports; changes nothing.

Not here: whether files can be read as labels at all (``datasets/formats/``).
"""
