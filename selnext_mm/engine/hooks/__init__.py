"""Hooks of the runner, one per file. Those that save and resume are in ``resume/``."""
