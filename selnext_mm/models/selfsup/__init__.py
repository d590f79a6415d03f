"""Training without labels: masked pretraining of SELNeXt.

Not here: the backbones (``models/backbones/``), loading of what was trained (``checkpoints/``).
"""
