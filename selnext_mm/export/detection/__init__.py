"""Whole detectors as graphs of standard operators: one file per head of MMDetection.

:class:`~selnext_mm.export.detection.graph.DetectorGraph` joins them. Lists of boxes have a fixed
length here, because a batch wants a rectangle; empty places have the score
:data:`~selnext_mm.export.detection.boxes.EMPTY` and are left out at the end.
"""
