"""Draw images from arrays and tables: boxes and masks, panels, curves, sheets of heat maps.

Not here: computing what is drawn (``analysis/``, ``evaluation/``), HTML pages (``report/``).
"""

SCORE_THR = 0.3  # lowest score that is drawn by default
