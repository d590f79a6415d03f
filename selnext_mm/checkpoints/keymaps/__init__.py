"""Other projects' weights under our names: one file per source, and the table in ``sources``.

How a map is written is in ``rules``.
"""
