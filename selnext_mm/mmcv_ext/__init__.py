"""``mmcv._ext`` in torch: the compiled operators of mmcv for environments that lack them.

mmcv-lite has every file of ``mmcv.ops``, but not the compiled module that they call. The functions
that MMDetection's detectors call are computed here with operators of torch, or of torchvision
where those are faster (:mod:`~selnext_mm.mmcv_ext.torchvision_ops`). Any other function of the
compiled module raises an error that says how to get it (:mod:`~selnext_mm.mmcv_ext.module`).

:mod:`~selnext_mm.mmcv_ext.finder` provides the module as soon as ``selnext_mm`` is imported,
:mod:`~selnext_mm.mmcv_ext.install` for programs that import mmcv first. A compiled module, where
there is one, is always preferred.

Not here: operators of our own (``ops/``).
"""
