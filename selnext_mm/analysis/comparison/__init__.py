"""``selnext-mm compare``: what to run (``plan``), running it (``runs``), the ``table``."""
