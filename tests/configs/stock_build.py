"""Run without this package imported: what stock tools build of configs, one line for each.

usage: python stock_build.py WORK_DIR CONFIG...

Configs that name no imports come first, because one that does registers our modules for all after
it. Models are built without memory, data sets without their files; schedules, samplers, loops and
metrics, which want both, are looked up.
"""

import copy
import functools
import logging
import sys
import traceback
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
from mmengine import registry
from mmengine.config import Config, config
from mmengine.runner import Runner
from mmengine.utils import import_modules_from_strings

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


class CompiledOperators(ModuleType):
    """In the place of mmcv's compiled operators, which import nothing of ours, as mmcv-lite's do.

    Nothing here runs them.
    """

    def __init__(self, name):
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)

    def __getattr__(self, name):
        if name.startswith('__'):
            raise AttributeError(name)
        return lambda *args: None


def make_torchvision_importable():
    """Where its wheel is of another build than torch's, it misses the operators of its own.

    Importing this package fixes that, but here it must not be. Returns what has to live on.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [m for m in sys.modules if m.split('.')[0] == 'torchvision']:
            del sys.modules[name]
        library = torch.library.Library('torchvision', 'DEF')
        for name in ('nms', 'qnms'):
            library.define(f'{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
        return library


class QuietRunner(Runner):
    """mmengine's runner without what takes seconds for each config and builds nothing of it."""

    def _log_env(self, env_cfg):
        pass

    def dump_config(self):
        pass

    def get_hooks_info(self):
        return ''

    def build_model(self, model):
        try:
            with torch.device('meta'):
                return super().build_model(copy.deepcopy(model))
        except RuntimeError:  # some of mmpretrain's ask a tensor for its value
            return super().build_model(model)

    def wrap_model(self, model_wrapper_cfg, model):
        return model  # a model on the meta device cannot be moved


def path_of(find, package, name):
    if name.startswith('_base_/'):
        raise ValueError(name)  # what mmengine raises for what no metafile lists
    return find(package, name)


def look_up(known, nodes):
    with known.switch_scope_and_registry(None) as scoped:
        for node in nodes if isinstance(nodes, list) else [nodes]:
            assert scoped.get(node['type']) is not None, f'no {known.name} {node["type"]}'


def build_data(cfg):
    try:
        registry.DATASETS.build(dict(cfg, lazy_init=True))
    except RuntimeError as error:
        if 'incorrectly organized' not in str(error):
            raise
        # Stanford Cars wants to see its folders at once.
        look_up(registry.DATASETS, cfg)
        look_up(registry.TRANSFORMS, cfg.pipeline)


def build(cfg, work_dir):
    cfg.launcher, cfg.work_dir = 'none', work_dir
    runner = QuietRunner.from_cfg(cfg)
    runner.build_optim_wrapper(cfg.optim_wrapper)
    look_up(registry.PARAM_SCHEDULERS, cfg.param_scheduler)
    splits = ('train', 'val', 'test')
    if cfg.model.type == 'FCMAE':  # trained without labels: nothing is measured
        assert not any(cfg.get(name) for name in LOADERS[1:])
        splits = ('train',)
    for split in splits:
        loader = cfg[f'{split}_dataloader']
        build_data(loader.dataset)
        look_up(registry.DATA_SAMPLERS, loader.sampler)
    for split in splits[1:]:
        look_up(registry.METRICS, cfg[f'{split}_evaluator'])
    loops = [cfg[f'{split}_cfg'] for split in splits]
    look_up(registry.LOOPS, [loop for loop in loops if 'type' in loop])


def main(work_dir, *paths):
    warnings.simplefilter('ignore')
    logging.disable(logging.CRITICAL)
    Config.pretty_text = property(lambda self: 'not written')  # a second for each config
    # They reload a package and read all metafiles of one at each call, a second for a base.
    config.is_installed = functools.cache(config.is_installed)
    config._get_external_cfg_path = functools.partial(path_of, config._get_external_cfg_path)
    _library = make_torchvision_importable()
    sys.modules['mmcv._ext'] = CompiledOperators('mmcv._ext')
    cfgs = {path: Config.fromfile(path, import_custom_modules=False) for path in paths}
    for path, cfg in sorted(cfgs.items(), key=lambda item: 'custom_imports' in item[1]):
        try:
            # As Config.fromfile does without the argument above.
            if 'custom_imports' in cfg:
                import_modules_from_strings(**cfg.custom_imports)
            else:
                assert 'selnext_mm' not in sys.modules
            build(cfg, work_dir)
            print('built', path, flush=True)
        except Exception as error:
            traceback.print_exc()
            print('failed', path, f'{type(error).__name__}: {error}'.splitlines()[0], flush=True)


if __name__ == '__main__':
    main(*sys.argv[1:])
