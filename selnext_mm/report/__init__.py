"""One self-contained HTML page about one or several runs: ``selnext-mm report``.

Not here: computing scores (``evaluation/``), running models (``inference/``).
"""
