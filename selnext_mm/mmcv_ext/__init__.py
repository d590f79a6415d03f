"""``mmcv._ext`` in torch: the compiled operators of mmcv for environments that have none.

mmcv-lite has every file of ``mmcv.ops`` and lacks the compiled module that they call. What the
detectors of MMDetection call is computed here with the operators of torch, and of torchvision
where those are faster (:mod:`~selnext_mm.mmcv_ext.torchvision_ops`); every other name of the
compiled module exists and says how to get it (:mod:`~selnext_mm.mmcv_ext.module`).

:mod:`~selnext_mm.mmcv_ext.finder` provides the module as soon as ``selnext_mm`` is imported,
:mod:`~selnext_mm.mmcv_ext.install` for programs that import mmcv first. A compiled module, where
there is one, is always preferred.
"""
