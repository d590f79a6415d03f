"""Models as files for other programs: what is exported, how it is written, how it is checked.

Not here: running what was exported, which is done without PyTorch (``runtime/``).
"""
