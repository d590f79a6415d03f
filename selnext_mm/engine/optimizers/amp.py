"""Mixed precision where mmengine supports it, full precision elsewhere."""

from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from selnext_mm.engine.device import has_amp

AMP_ONLY = ('loss_scale', 'dtype', 'use_fsdp')


@OPTIM_WRAPPERS.register_module()
def AutoAmpOptimWrapper(**kwargs) -> OptimWrapper:  # noqa: N802 - a registry name, as a class
    """Return mmengine's ``AmpOptimWrapper``, or its ``OptimWrapper`` on a CPU and on MPS.

    mmengine's wrapper fails with an assertion there; with this one the same config runs.
    Arguments are those of ``AmpOptimWrapper``.
    """
    device = get_device()
    if has_amp(device):
        return AmpOptimWrapper(**kwargs)
    why = 'no accelerator' if device == 'cpu' else device
    print_log(f'{why}: mixed precision becomes float32', 'current')
    return OptimWrapper(**{k: v for k, v in kwargs.items() if k not in AMP_ONLY})
