"""Hooks of the runner, one per file.

Not here: those that save and resume (``engine/resume/``).
"""
