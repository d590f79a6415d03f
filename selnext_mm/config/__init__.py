"""From a config to what runs: read, walk, summarise, build.

Not here: what is checked before a run (``engine/preflight/``).
"""
