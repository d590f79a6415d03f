"""Hooks of the runner, one per file.

Not here: hooks that save and resume (``engine/resume/``).
"""
