"""Every recipe inherited by name in somebody else's folder, and its parts used again there."""

import pytest
from mmengine import registry
from mmengine.registry import DefaultScope

from selnext_mm.config.load import load_config
from selnext_mm.config.walk import LOADERS, iter_evaluators, loader_parts
from selnext_mm.config_files import config_leaves
from tests.mmseg import skip_without_mmseg


def parts_of(cfg):
    """(place, dict, registry) of all that has a type in the loaders and evaluators."""
    for loader in LOADERS:
        yield from loader_parts(cfg, loader)
    for name, node in iter_evaluators(cfg):
        yield name, node, registry.METRICS


def classes_of(cfg):
    """Place -> class or function, in the scope of the config."""
    found = {}
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        for place, node, known in parts_of(cfg):
            with known.switch_scope_and_registry(node.get('_scope_')) as scoped:
                found[place] = scoped.get(node['type'])
    return found


@pytest.mark.parametrize('leaf', config_leaves())
def test_parts_with_the_scope_of_this_package_mean_what_they_mean_in_the_recipe(leaf):
    """mmengine marks the parts of an inherited config with the scope of its package."""
    skip_without_mmseg(leaf)
    cfg = load_config(leaf)
    expected = classes_of(cfg)
    assert None not in expected.values()
    for _, node, _ in parts_of(cfg):
        node['_scope_'] = 'selnext_mm'
    assert classes_of(cfg) == expected


@pytest.mark.parametrize(
    'reference', ['{{_base_.train_dataloader.dataset}}', '_base_.train_dataloader.dataset']
)
@pytest.mark.parametrize(
    'leaf', ['mask_rcnn/selnext_atto_shapes.py', 'cls/cifar10/selnext_atto_cifar10.py']
)
def test_an_inherited_data_set_can_be_built_inside_a_wrapper(leaf, reference, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = 'selnext_mm::{leaf}'\ninner = {reference}\n"
        "train_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2,\n"
        '    dataset=inner))\n'
    )
    cfg = load_config(path)
    inner = cfg.train_dataloader.dataset.dataset
    inner.pop('_scope_')
    inner.lazy_init = True
    with (
        DefaultScope.overwrite_default_scope(cfg.default_scope),
        registry.DATASETS.switch_scope_and_registry('selnext_mm') as scoped,
    ):
        built = scoped.build(inner).pipeline.transforms
    place = 'train_dataloader.dataset.pipeline'
    expected = classes_of(load_config(leaf))
    assert [type(t) for t in built] == [expected[f'{place}.{i}'] for i in range(len(built))]
