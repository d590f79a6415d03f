"""Every runnable config parses, builds and has the parameters it is documented with."""

import functools
import importlib.util
import re
from pathlib import Path

import pytest
import torch
import yaml

from selnext_mm.config import aliases
from selnext_mm.config.load import load_config
from selnext_mm.config.walk import LOADERS
from selnext_mm.config_files import config_leaves, config_root
from tests.mmseg import skip_without_mmseg

LEAVES = config_leaves()
# Published counts (Table 2, Table 5; exact values of the authors' class with mmdet's heads).
EXACT = {
    'cls/selnext_t_in1k.py': 35126656,
    'cls/selnext_s_in1k.py': 62140480,
    'cls/selnext_b_in1k.py': 109715208,
    'mask_rcnn/selnext_t_3x_coco.py': 54632904,
    'mask_rcnn/selnext_t_1x_coco.py': 54632904,
    'mask_rcnn/convnext_t_3x_coco.py': 48095376,
    'cascade_mask_rcnn/convnext_t_3x_coco.py': 85930578,
    'cascade_mask_rcnn/convnext_s_3x_coco.py': 107565138,
    'cascade_mask_rcnn/convnext_b_3x_coco.py': 145800242,
    'cascade_mask_rcnn/selnext_t_3x_coco.py': 92468106,
    'cascade_mask_rcnn/selnext_t_1x_coco.py': 92468106,
    'cascade_mask_rcnn/selnext_s_3x_coco.py': 119481930,
    'cascade_mask_rcnn/selnext_s_1x_coco.py': 119481930,
    'cascade_mask_rcnn/selnext_b_3x_coco.py': 166923986,
    'cascade_mask_rcnn/selnext_b_1x_coco.py': 166923986,
}
# One of each kind, whose operations are counted anew.
COUNTED = {
    'cls/selnext_t_in1k.py',
    'cls/cifar10/convnext_atto_cifar10.py',
    'cls/mobilenet_v3_l_seln_in1k.py',
    'cls/na_mobilenet_v2_in1k.py',
    'cls/patnet_t0_in1k.py',
    'cls/fasternet_t0_in1k.py',
    'faster_rcnn/selnext_t_1x_coco.py',
    'retinanet/na_r50_2x_coco.py',
    'mask_rcnn/selnext_atto_shapes.py',
    'upernet/convnext_t_ade20k.py',
    'upernet/selnext_t_ade20k.py',
    'semantic_fpn/selnext_t_ade20k.py',
}


@functools.cache
def metafile_rows():
    index = yaml.safe_load((config_root().parent / 'model-index.yml').read_text())
    rows = {}
    for name in index['Import']:
        for model in yaml.safe_load((config_root().parent / name).read_text())['Models']:
            rows[model['Config'].removeprefix('configs/')] = model
    return rows


def test_there_are_configs():
    assert set(EXACT) <= set(LEAVES)
    assert len(LEAVES) >= 17


@pytest.fixture(scope='module')
def tool():
    spec = importlib.util.spec_from_file_location(
        'metafiles', config_root().parent / 'dev' / 'metafiles.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', LEAVES)
def test_config_builds_with_its_documented_parameters(name, tool):
    skip_without_mmseg(name)
    row, stored = tool.row(name, name in COUNTED), metafile_rows()[name]
    if name not in COUNTED:
        row['Metadata'] |= {key: stored['Metadata'][key] for key in ('FLOPs', 'Input Size')}
    assert row == stored, 'run dev/metafiles.py'
    if name in EXACT:
        assert row['Metadata']['Parameters'] == EXACT[name]


@pytest.mark.parametrize('name', LEAVES)
def test_config_is_complete(name):
    cfg = load_config(name)
    assert cfg.auto_scale_lr.base_batch_size > 0
    assert 'enable' in cfg.auto_scale_lr
    assert cfg.randomness.seed is not None
    assert aliases.owner(name) == cfg.default_scope
    for loader in LOADERS:
        if cfg.model.type == 'FCMAE' and loader != 'train_dataloader':
            assert cfg.get(loader) is None  # there is nothing to measure but the loss
            continue
        assert not str(cfg[loader].dataset.data_root).startswith('/')


def test_the_modelindex_library_finds_no_fault():
    from modelindex.load_model_index import load

    index = load(str(config_root().parent / 'model-index.yml'))
    assert index.check(silent=True) == []
    index.build_models_with_collections()
    papers = {m.name: m.full_model.data['Paper']['Title'] for m in index.models}
    assert len(papers) == len(LEAVES)
    assert all(papers.values())


def test_every_leaf_has_its_row_in_metafile_and_readme():
    rows = metafile_rows()
    assert set(rows) == set(LEAVES)
    for name in LEAVES:
        readme = (config_root() / Path(name).parts[0] / 'README.md').read_text()
        assert f'({Path(*Path(name).parts[1:])})' in readme, name
        first = (config_root() / name).read_text().splitlines()[0]
        assert re.match(r'# long name: [a-z0-9._-]+(?: |$)', first), name
        assert first.split()[3] == rows[name]['Name']


def test_recipes_are_the_documented_ones():
    """Table 4, and ConvNeXt's layer decay."""
    expected = {
        'mask_rcnn/selnext_t_3x_coco.py': ('tiny', 0.4, 2e-4, 0.95, 36),
        'mask_rcnn/selnext_s_3x_coco.py': ('small', 0.6, 2e-4, 0.95, 36),
        'mask_rcnn/selnext_b_1x_coco.py': ('base', 0.7, 1e-4, 0.95, 12),
        'cascade_mask_rcnn/selnext_t_3x_coco.py': ('tiny', 0.4, 2e-4, 0.7, 36),
        'cascade_mask_rcnn/selnext_s_1x_coco.py': ('small', 0.6, 1e-4, 0.7, 12),
        'cascade_mask_rcnn/selnext_b_3x_coco.py': ('base', 0.7, 2e-4, 0.8, 36),
    }
    for name, values in expected.items():
        cfg = load_config(name)
        optim = cfg.optim_wrapper
        assert values == (
            cfg.model.backbone.arch,
            cfg.model.backbone.drop_path_rate,
            optim.optimizer.lr,
            optim.paramwise_cfg.layer_decay_rate,
            cfg.train_cfg.max_epochs,
        ), name
        assert optim.optimizer.weight_decay == 0.05
        assert cfg.param_scheduler[1].milestones == ([27, 33] if '3x' in name else [8, 11])
        assert cfg.param_scheduler[0].end == 500


@pytest.mark.parametrize('detector', ['mask_rcnn', 'cascade_mask_rcnn'])
def test_table_5_compares_with_the_published_recipes(detector):
    """FACTS of ConvNeXt's and Swin's own code; data, schedule and heads are SELNeXt's."""
    sizes = 't' if detector == 'mask_rcnn' else 'tsb'
    for size in sizes:
        ours, convnext, swin = (
            load_config(f'{detector}/{family}_{size}_3x_coco.py')
            for family in ('selnext', 'convnext', 'swin')
        )
        for other in (convnext, swin):
            for key in ('train_dataloader', 'param_scheduler', 'train_cfg', 'auto_scale_lr'):
                assert other[key] == ours[key], key
            for key in ('neck', 'rpn_head', 'roi_head', 'train_cfg', 'test_cfg'):
                assert other.model[key] == ours.model[key], key
        optim = convnext.optim_wrapper
        assert optim.optimizer.lr == (1e-4 if detector == 'mask_rcnn' else 2e-4)
        assert optim.paramwise_cfg == ours.optim_wrapper.paramwise_cfg
        backbone = convnext.model.backbone
        assert backbone.drop_path_rate == {'t': 0.4, 's': 0.6, 'b': 0.7}[size]
        assert backbone.attention_cfg is None
        assert backbone.block_norm_cfg.type == 'LN2d'
        optim = swin.optim_wrapper
        assert (optim.optimizer.lr, optim.optimizer.weight_decay) == (1e-4, 0.05)
        assert set(optim.paramwise_cfg) == {'custom_keys'}
        assert 'constructor' not in optim
        assert swin.model.backbone.drop_path_rate == {'t': 0.2, 's': 0.2, 'b': 0.3}[size]
        assert sum(swin.model.backbone.depths) == (12 if size == 't' else 24)


def test_recipes_for_boxes_are_those_of_the_masks():
    for boxes, masks, archs, lengths in (
        ('faster_rcnn', 'mask_rcnn', 'tsb', ('1x', '3x')),
        ('cascade_rcnn', 'cascade_mask_rcnn', 'tsb', ('3x',)),
        ('retinanet', 'mask_rcnn', 'tsb', ('1x',)),
    ):
        for leaf in (f'selnext_{a}_{x}_coco.py' for a in archs for x in lengths):
            mine, theirs = load_config(f'{boxes}/{leaf}'), load_config(f'{masks}/{leaf}')
            for key in ('arch', 'drop_path_rate', 'layer_scale_init_value', 'init_cfg'):
                assert mine.model.backbone[key] == theirs.model.backbone[key], leaf
            for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'auto_scale_lr'):
                assert mine[key] == theirs[key], (leaf, key)
            assert mine.val_evaluator.metric == 'bbox'


def test_multi_scale_policy_is_convnexts():
    pipeline = load_config('mask_rcnn/selnext_t_3x_coco.py').train_dataloader.dataset.pipeline
    (choice,) = [t for t in pipeline if t.type == 'RandomChoice']
    (resize,), (first, crop, second) = choice.transforms
    assert resize.scales == second.scales == [(1333, s) for s in range(480, 801, 32)]
    assert first.scales == [(1333, s) for s in (400, 500, 600)]
    assert (crop.crop_type, crop.crop_size) == ('absolute_range', (384, 600))


def test_imagenet_schedule_ends_at_its_floor():
    """Simulate the 300 epochs with 4 iterations each: peak after 20 epochs, floor at the end."""
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    import selnext_mm.models.backbones.selnext as module

    cfg = load_config('cls/selnext_t_in1k.py')
    model = torch.nn.Module()
    model.backbone = module.SELNeXt(
        dict(depths=(1, 1, 1, 1), channels=(8, 8, 8, 8)), attention_cfg=None
    )
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    schedulers = [
        PARAM_SCHEDULERS.get(c.type).build_iter_from_epoch(
            optimizer=wrapper,
            epoch_length=4,
            **{k: v for k, v in c.items() if k not in ('type', 'convert_to_iter_based')},
        )
        for c in cfg.param_scheduler
    ]
    lrs = []
    for _ in range(1200):
        lrs.append(wrapper.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    assert lrs[0] == pytest.approx(4e-9)
    assert max(lrs) == pytest.approx(4e-3, rel=1e-3)
    assert abs(lrs.index(max(lrs)) - 80) <= 1
    assert lrs[40] == pytest.approx(2e-3, rel=0.02)
    assert wrapper.param_groups[0]['lr'] == pytest.approx(1e-6, rel=0.05)
