"""Checks whether data is fit to train on, one file per kind; ``config`` runs them for a config.

They read and report, and change nothing.

Not here: whether files can be read as labels at all (``datasets/formats/``).
"""
