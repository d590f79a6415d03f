"""Work-arounds for imports of OpenMMLab, each with its reason and the condition to skip it.

``apply()`` runs once, together with :mod:`selnext_mm.compat`. The module imports nothing of the
package before a function is called, because the doctor runs this file by itself.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType


def _multimodal_models_work() -> bool:
    """Whether the installed transformers still has what mmpretrain's BLIP imports."""
    package = importlib.util.find_spec('transformers')
    if package is None or not package.submodule_search_locations:
        return True  # mmpretrain itself checks whether it is missing
    source = Path(package.submodule_search_locations[0], 'modeling_utils.py')
    return not source.is_file() or 'apply_chunking_to_forward' in source.read_text('utf-8')


def switch_off_multimodal_models() -> None:
    """Let ``import mmpretrain.models`` work with a transformers that is too new for it.

    mmpretrain 1.2.0 imports its multimodal models if pycocotools and transformers >= 4.28 are
    installed. transformers 5 moved ``apply_chunking_to_forward`` out of ``modeling_utils``, so this
    fails with "NoneType takes no arguments", and no classifier can be used. mmpretrain's own switch
    is set to its value without transformers.

    No effect if transformers has the function or is not installed, or if mmpretrain has already
    been imported. Loads neither.
    """
    from selnext_mm.import_hooks import around_import

    around_import(['mmpretrain.utils.dependency'], _switch_off)


def _switch_off(module, execute) -> None:
    execute(module)
    if module.WITH_MULTIMODAL and not _multimodal_models_work():
        module.WITH_MULTIMODAL = False


def load_sharding_later() -> None:
    """Let mmengine load what shards a model or an optimizer over GPUs only on use.

    mmengine 0.10.7 derives an optimizer, a model wrapper and a strategy from parts of
    ``torch.distributed`` that take as long to load as torch itself. They stay registered by name.
    No effect if mmengine.optim has already been imported. Loads nothing.
    """
    from selnext_mm.import_hooks import register_late

    def registry(name: str):
        return lambda: getattr(importlib.import_module('mmengine.registry'), name)

    for module, kind, registered in (
        ('mmengine.optim.optimizer.zero_optimizer', 'ZeroRedundancyOptimizer', 'OPTIMIZERS'),
        (
            'mmengine.model.wrappers.fully_sharded_distributed',
            'MMFullyShardedDataParallel',
            'MODEL_WRAPPERS',
        ),
        ('mmengine._strategy.fsdp', 'FSDPStrategy', 'STRATEGIES'),
    ):
        register_late(module, kind, registry(registered))


# Modules of mmdet that import a large library for rarely used features.
SELDOM_USED = {
    'evaluation.metrics.crowdhuman_metric',
    'models.dense_heads.paa_head',
    'models.task_modules.assigners.hungarian_assigner',
    'models.task_modules.assigners.topk_hungarian_assigner',
    'models.task_modules.tracking.aflink',
    'models.task_modules.tracking.interpolation',
    'models.task_modules.tracking.kalman_filter',
    'structures.mask.structures',
    'utils.mot_error_visualize',
}


def import_large_libraries_later() -> None:
    """Let mmdet import SciPy, scikit-learn, Matplotlib and Shapely when it calls them.

    mmdet 3.3.0 imports them with its models, for matchers, trackers and the clipping of polygons.
    They take a quarter of the start-up time of each command. No effect if mmdet has already been
    imported. Loads nothing.
    """
    from selnext_mm.import_hooks import defer

    libraries = ('matplotlib', 'scipy', 'seaborn', 'shapely', 'sklearn')
    defer(libraries, {f'mmdet.{name}' for name in SELDOM_USED})


class _Numpy(ModuleType):
    """numpy with an ``array`` that turns lists of unequal lengths into an object array."""

    def __init__(self, numpy: ModuleType) -> None:
        super().__init__('numpy')
        self.__dict__['_numpy'] = numpy

    def __getattr__(self, name: str):
        return getattr(self._numpy, name)

    def array(self, values, *args, **kwargs):
        try:
            return self._numpy.array(values, *args, **kwargs)
        except ValueError:
            result = self._numpy.empty(len(values), object)
            for i, value in enumerate(values):
                result[i] = value
            return result


def take_unequal_lists() -> None:
    """Let mmdet's ``eval_recalls`` (``proposal_fast``) work with numpy from 1.24 on.

    mmdet 3.3.0 makes one array of the overlaps of all images, which differ in their number of
    boxes. No effect if mmdet.evaluation has already been imported.
    """
    from selnext_mm.import_hooks import around_import

    around_import(['mmdet.evaluation.functional.recall'], _take_unequal_lists)


def _take_unequal_lists(module, execute) -> None:
    execute(module)
    module.np = _Numpy(module.np)


def apply() -> None:
    switch_off_multimodal_models()
    import_large_libraries_later()
    load_sharding_later()
    take_unequal_lists()
