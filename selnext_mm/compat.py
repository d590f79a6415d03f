"""Work-arounds for OpenMMLab and torch, each with its reason and the condition to skip it.

``apply()`` runs once, when ``selnext_mm`` is imported.
"""

import contextlib
import functools
import importlib
import importlib.util
import pickle
import warnings
from typing import Any


def declare_torchvision_ops() -> bool:
    """Let torchvision be imported even if its compiled operators cannot be loaded.

    A torchvision wheel built for CUDA next to a CPU build of torch fails at import with
    "operator torchvision::nms does not exist". So do mmdet and mmpretrain, although they use only
    torchvision's transforms and mmcv's operators. Declaring the two schemas that its
    module-level registrations need is enough; calling them still fails, as it should.

    No effect if torchvision is absent or loads by itself. Returns whether it did anything.
    Importing the package only installs a hook that does this when torchvision is imported, which
    takes seconds; a backbone does not need it.
    """
    from selnext_mm import torchvision_import

    torchvision_import.repair()
    if importlib.util.find_spec('torchvision') is None:
        return False
    importlib.import_module('torchvision')
    return torchvision_import.declared()


def mend_torchvision() -> None:
    """Make any later import of torchvision apply :func:`declare_torchvision_ops`."""
    from selnext_mm import torchvision_import

    torchvision_import.repair()


def _known_method(owner: type, name: str):
    """``getattr`` for checkpoints, which allows only six pure functions of mmengine.

    They are the statistics of ``HistoryBuffer``, and the curves of the one-cycle schedule, which
    keeps the chosen one in its state.
    """
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    known = {
        HistoryBuffer: ('mean', 'min', 'max', 'current'),
        OneCycleParamScheduler: ('_annealing_cos', '_annealing_linear'),
    }
    if not isinstance(owner, type) or name not in known.get(owner, ()):
        raise pickle.UnpicklingError(f'GLOBAL getattr({owner!r}, {name!r}) is not allowed')
    return getattr(owner, name)


def allow_checkpoint_types() -> None:
    """Let ``torch.load(weights_only=True)`` read what mmengine itself writes.

    mmengine stores its message hub in every checkpoint: ``HistoryBuffer`` objects made of numpy
    arrays, with references to four of the class's methods, pickled as ``getattr`` calls, and a
    one-cycle schedule likewise refers to its curve. torch >= 2.6 refuses them (mmengine issue
    1655). Only these are allowed, ``getattr`` for these methods alone; nothing here runs code
    from a file.

    No effect before torch 2.4, which has no allow-list.
    """
    import torch

    if not hasattr(torch.serialization, 'add_safe_globals'):
        return
    import numpy as np
    from mmengine.logging import HistoryBuffer
    from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler

    try:
        from numpy._core import multiarray
    except ImportError:  # numpy < 2
        from numpy.core import multiarray
    dtypes = {type(np.dtype(t)) for t in ('f2', 'f4', 'f8', 'i4', 'i8', 'u1', 'bool')}
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            OneCycleParamScheduler,
            np.ndarray,
            np.dtype,
            *dtypes,
            (_known_method, 'builtins.getattr'),
            # Files name these functions by their module path in the numpy version that wrote them.
            (multiarray._reconstruct, 'numpy.core.multiarray._reconstruct'),
            (multiarray._reconstruct, 'numpy._core.multiarray._reconstruct'),
            (multiarray.scalar, 'numpy.core.multiarray.scalar'),
            (multiarray.scalar, 'numpy._core.multiarray.scalar'),
        ]
    )


def load_only_weights() -> None:
    """Make mmengine's local checkpoint loader restricted, whatever the version of torch.

    Stock mmengine calls ``torch.load`` with the default of the installed torch, which runs code
    from the file before torch 2.6; forks retry unrestricted after a failure. Ours never does,
    and it reads ``.safetensors``. URLs (http, torchvision, open-mmlab, ...) go through
    ``torch.hub``, which runs code from the file in any version: here they are fetched into the
    same folder and read like a local file, as is ``hf://``, the Hugging Face Hub. Other loads of
    the module (s3, petrel) are restricted.
    """
    from mmengine.runner import CheckpointLoader, checkpoint

    from selnext_mm.checkpoints.files import load_file
    from selnext_mm.checkpoints.remote import RestrictedTorch, load_url

    checkpoint.load_url = load_url
    checkpoint.torch = RestrictedTorch()

    @CheckpointLoader.register_scheme(prefixes='', force=True)
    def load_from_local(filename, map_location=None):
        return load_file(filename, map_location=map_location)

    CheckpointLoader.register_scheme(prefixes='hf://', loader=load_from_local, force=True)


def write_checkpoints_atomically() -> None:
    """Make mmengine write its checkpoints to local disks atomically.

    Stock mmengine writes in place: a kill or a full disk leaves a broken file, to which
    ``last_checkpoint`` may point. Other file backends are left to mmengine.
    """
    import mmengine.runner
    from mmengine.runner import checkpoint as module
    from mmengine.runner import runner

    from selnext_mm.checkpoints.integrity import write_checkpoint

    stock = module.save_checkpoint
    if getattr(stock, 'is_atomic', False):
        return

    @functools.wraps(stock)
    def save_checkpoint(checkpoint, filename, file_client_args=None, backend_args=None):
        if file_client_args or backend_args or '://' in str(filename):
            stock(checkpoint, filename, file_client_args, backend_args)
        else:
            write_checkpoint(checkpoint, filename)

    save_checkpoint.is_atomic = True  # type: ignore[attr-defined]  # marks the patch
    for owner in (module, runner, mmengine.runner):
        if getattr(owner, 'save_checkpoint', None) is stock:
            owner.save_checkpoint = save_checkpoint


def release_the_lock_of_managers() -> None:
    """Keep mmengine's global instances (scopes, loggers, visualizers) accessible after an error.

    ``ManagerMixin`` of mmengine 0.10.7 takes a lock that all of them share, and does not release it
    if it raises: for a visualizer that cannot be built, an invalid name, or Ctrl-C. Every other
    thread then waits forever, e.g. in a prediction after a training with such a mistake. No effect
    if mmengine has no such lock.
    """
    from mmengine.utils import manager

    release = getattr(manager, '_release_lock', None)
    if release is None or hasattr(manager.ManagerMixin, 'releases_its_lock'):
        return

    def released(stock):
        @functools.wraps(stock)
        def method(cls, *args, **kwargs):
            try:
                return stock(cls, *args, **kwargs)
            except BaseException:
                with contextlib.suppress(RuntimeError):  # already released, or never taken
                    release()
                raise

        return classmethod(method)

    for name in ('get_instance', 'get_current_instance'):
        stock = vars(manager.ManagerMixin)[name].__func__
        setattr(manager.ManagerMixin, name, released(stock))
    manager.ManagerMixin.releases_its_lock = True


def silence_pkg_resources() -> None:
    """Hide the notice that pkg_resources is deprecated.

    mmengine 0.10.7 imports it for every ``pkg::`` base of a config and reloads it each time,
    about two lines per base. No effect if mmengine does not import it.
    """
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')


def provide_mmcv_operators() -> None:
    """Let ``mmcv.ops`` be imported if mmcv has no compiled operators (mmcv-lite).

    Every detector of MMDetection imports it. The operators are then computed by torch
    (:mod:`selnext_mm.mmcv_ext`). No effect if there is a compiled ``mmcv._ext``. Loads nothing.
    """
    from selnext_mm.mmcv_ext.finder import provide

    provide()


def provide_pkg_resources() -> None:
    """Let mmengine look up distributions if setuptools (82 and later) has no ``pkg_resources``.

    mmengine 0.10.7 imports it for every ``pkg::`` base of a config. No effect if it exists.
    """
    from selnext_mm.distributions import provide

    provide()


def provide_find_loader() -> None:
    """Provide ``pkgutil.find_loader``, which Python 3.14 removed; mmengine and mmcv call it.

    No effect if pkgutil has it.
    """
    import pkgutil

    def find_loader(name: str) -> Any:
        spec = importlib.util.find_spec(name)
        return spec and spec.loader

    module: Any = pkgutil
    if not hasattr(module, 'find_loader'):
        module.find_loader = find_loader


def apply() -> None:
    from selnext_mm import compat_config, compat_imports

    provide_find_loader()
    compat_imports.apply()
    provide_mmcv_operators()
    provide_pkg_resources()
    mend_torchvision()
    allow_checkpoint_types()
    load_only_weights()
    write_checkpoints_atomically()
    compat_config.apply()
    release_the_lock_of_managers()
    silence_pkg_resources()


def silence_known_warnings() -> None:
    """Hide upstream notices that a user can do nothing about."""
    for message in (
        '__floordiv__ is deprecated',
        'torch.meshgrid: in an upcoming release',
    ):
        warnings.filterwarnings('ignore', message=message)
