"""Pictures out of arrays and tables: boxes and masks, panels, curves, sheets of heat maps.

Not here: computing what is drawn (``analysis/``, ``evaluation/``), HTML pages (``report/``).
"""
