"""Whole detectors as graphs of standard operators, with a Python module per head of MMDetection.

:class:`~selnext_mm.export.detection.graph.DetectorGraph` joins them. Lists of boxes have a fixed
length here, because the rows of a tensor are equally long; empty entries have the score
:data:`~selnext_mm.export.detection.boxes.EMPTY` and are removed at the end.

Not here: the formats of files, common to all models (``export/``), and the joining of slices
(``slicing/``).
"""
