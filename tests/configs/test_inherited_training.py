"""Every recipe, inherited by name in somebody else's folder, trains there for two iterations."""

import os
from pathlib import PurePosixPath

import pytest

from selnext_mm import Session
from selnext_mm.config.load import load_config
from selnext_mm.config.walk import value_at
from selnext_mm.config_files import config_leaves
from selnext_mm.models.backbones import patnet, selnext
from tests.configs.recipe_data import WRITERS, data_of, name_checksums_of_cifar100
from tests.mmseg import skip_without_mmseg

# The data set of the recipe with its pipeline, by each of mmengine's two ways to name it.
MINE = """
_base_ = 'selnext_mm::{leaf}'
one = {{{{_base_.train_dataloader.dataset}}}}
other = _base_.train_dataloader.dataset
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, type='ConcatDataset', datasets=[one, other]),
)
"""
ARCHS = {'SELNeXt': selnext.ARCHS, 'PATNet': patnet.ARCHS}
SHALLOW = (1, 1, 1, 1)


def one_block_per_stage(backbone):
    """Options that make it shallow; its widths, which neck and head rely on, stay."""
    kind, arch = backbone.type, backbone.get('arch')
    if kind == 'SwinTransformer':
        return {'model.backbone.depths': SHALLOW}
    if kind not in ARCHS:
        return {}
    channels = ARCHS[kind][arch][1] if isinstance(arch, str) else arch['channels']
    return {'model.backbone.arch': dict(_delete_=True, depths=SHALLOW, channels=channels)}


NOT_SAVED = {
    f'default_hooks.checkpoint.{key}': value
    for key, value in {'interval': 9, 'save_last': False}.items()
}
SMALL = {
    'crop_size': (64, 96),
    **dict.fromkeys(('conv_out_channels', 'fc_out_channels', 'feat_channels'), 16),
}


def smaller(node, path):
    """Options for what a step costs: sizes of pictures above 224, regions and widths of heads."""
    if isinstance(node, list | tuple):
        node = dict(enumerate(node))
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        here = f'{path}.{key}'
        if key in SMALL:
            yield here, SMALL[key]
        elif key == 'scales' and isinstance(value[0], tuple):
            yield here, [(160, 96), (160, 128)]
        elif key in ('scale', 'size') and isinstance(value, tuple) and max(value) > 224:
            yield here, (160, 128) if key == 'scale' else (64, 96)
        elif key == 'sampler' and 'num' in value:
            yield f'{here}.num', 16
        else:
            yield from smaller(value, here)


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """A folder with ``data/`` as the recipes want it; written when first asked for."""
    root = tmp_path_factory.mktemp('home')

    def with_data(name):
        if not (root / 'data' / name).exists():
            WRITERS[name](root / 'data' / name)
        return root

    return with_data


SIZES = ('t0', 't1', 't2', 't', 's', 'm', 'b', 'l')


def trained():
    """All recipes; without SELNEXT_MM_ALL_RECIPES the smallest of each backbone, data and schedule.

    Others differ from it in the size or the gate.
    """
    if os.environ.get('SELNEXT_MM_ALL_RECIPES'):
        return config_leaves()
    smallest = {}
    for leaf in config_leaves():
        words = PurePosixPath(leaf).stem.split('_')
        order = SIZES.index(words[1]) if words[1] in SIZES else -1
        schedule = [word for word in words if word in ('1x', '2x', '3x', 'ft')]
        family = (PurePosixPath(leaf).parent, words[0], *schedule, words[-1])
        smallest[family] = min(smallest.get(family, (order, leaf)), (order, leaf))
    return sorted(leaf for _, leaf in smallest.values())


def stands_for_its_folder(leaf):
    beside = [x for x in trained() if PurePosixPath(x).parent == PurePosixPath(leaf).parent]
    return leaf == min(beside, key=lambda x: ('selnext' not in x, x))


@pytest.mark.integration
@pytest.mark.usefixtures('unformatted_configs')
@pytest.mark.parametrize(
    'leaf',
    [
        pytest.param(leaf, marks=() if stands_for_its_folder(leaf) else pytest.mark.slow)
        for leaf in trained()
    ],
)
def test_an_inherited_recipe_trains(leaf, home, tmp_path, monkeypatch):
    skip_without_mmseg(leaf)
    recipe = load_config(leaf)
    name = data_of(leaf)
    root = home(name)
    monkeypatch.chdir(root)
    if name == 'cifar100':
        name_checksums_of_cifar100(monkeypatch, root / 'data' / name)
    mine = tmp_path / 'mine.py'
    mine.write_text(MINE.format(leaf=leaf))
    options = one_block_per_stage(recipe.model.backbone)
    for part in ('model', 'model.backbone'):  # published weights are a download
        if value_at(recipe, part).get('init_cfg'):
            options[f'{part}.init_cfg'] = None
    for part in ('train_cfg', 'data_preprocessor', 'rpn_head', 'bbox_head', 'roi_head'):
        options.update(smaller(recipe.model.get(part), f'model.{part}'))
    for i in (0, 1):
        place = f'train_dataloader.dataset.datasets.{i}'
        options[f'{place}.indices'] = 2
        options.update(smaller(recipe.train_dataloader.dataset.pipeline, f'{place}.pipeline'))
    by_iterations = recipe.train_cfg.get('type') == 'IterBasedTrainLoop'
    options[f'train_cfg.max_{"iters" if by_iterations else "epochs"}'] = 2 if by_iterations else 1
    options.update(NOT_SAVED)
    if recipe.get('val_dataloader'):
        options['train_cfg.val_begin'] = 9  # a validation with random weights takes a minute
    session = Session(mine, work_dir=tmp_path / 'work', options=options)
    session.train()
    assert session.runner.iter == 2
