"""What is checked before a run makes its work dir; each check raises ``UserError``.

Not here: the labels (``datasets/check/``), and what changes the config (``safe_defaults``).
"""
