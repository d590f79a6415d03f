"""``selnext-mm doctor``: what is installed, whether it works, and the line that fixes it.

It has to start where neither torch nor OpenMMLab can be imported, so it imports nothing else of
the package. Its probes do, in separate processes.

Not here: checks of a config or of data (``engine/preflight/``, ``datasets/check/``).
"""
