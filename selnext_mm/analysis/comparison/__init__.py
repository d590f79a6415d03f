"""``selnext-mm compare``: what is to be run (``plan``), running it (``runs``), its ``table``."""
