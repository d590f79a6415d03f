"""What the models need from mmengine: the original if it is installed, else thin stand-ins.

With torch alone ``from selnext_mm.models import SELNeXt`` gives the same classes over the bases
of :mod:`selnext_mm.framework.plain`: same arguments, same names of tensors, same numbers. With
mmengine they are registered in its root registry and derive from its ``BaseModule``.

Not here: modules and layers (``models/``), nor anything of mmdet and mmpretrain.
"""

try:
    from mmengine.logging import print_log
    from mmengine.model import BaseModule, ModuleList, Sequential
    from mmengine.registry import MODELS

    HAS_MMENGINE = True
except ModuleNotFoundError as error:
    if (error.name or '').partition('.')[0] != 'mmengine':
        raise  # mmengine is installed, but something that it needs is not
    from selnext_mm.framework.plain import (
        MODELS,
        BaseModule,
        ModuleList,
        Sequential,
        print_log,
    )

    HAS_MMENGINE = False

__all__ = ['HAS_MMENGINE', 'MODELS', 'BaseModule', 'ModuleList', 'Sequential', 'print_log']
