"""``selnext-mm compare``: what to run (``plan``), running it (``runs``), the ``table``;
all of it: ``compare``.

Not here: the comparison of finished runs on a page (``report/``).
"""
