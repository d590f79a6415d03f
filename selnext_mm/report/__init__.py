"""One self-contained HTML page about one or several runs: ``selnext-mm report``."""
