"""``selnext-mm doctor``: what is installed, whether it works, and the line that fixes it.

Must start where neither torch nor OpenMMLab can be imported: imports nothing else of the
package. Its probes do, in processes of their own.

Not here: checks of a config or of data (``engine/preflight/``, ``datasets/check/``).
"""
