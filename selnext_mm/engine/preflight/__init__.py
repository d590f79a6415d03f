"""Checks before a run creates its work dir; each check raises ``UserError``.

Not here: the labels (``datasets/check/``), and what changes the config (``safe_defaults``).
"""
