"""The recipes for ADE20K against MMSegmentation's own, and the counts against the printed ones."""

from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS

from selnext_mm.__main__ import main
from selnext_mm.analysis.complexity import measure_model
from selnext_mm.analysis.papers.printed import meets
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_root
from selnext_mm.errors import UserError
from selnext_mm.export.graphs import choose_part
from tests.mmseg import needs_mmseg

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
NAMES = {'t': 'tiny', 's': 'small', 'b': 'base'}
# Parameters that SELNeXt has more than ConvNeXt: of the classifiers of Table 2.
MORE = {'t': 35126656 - 28589128, 's': 62140480 - 50223688, 'b': 109715208 - 88591464}
# ConvNeXt's table (facebookresearch/ConvNeXt, semantic_segmentation/README.md): params, FLOPs.
PRINTED = {'t': ('60', '939'), 's': ('82', '1027'), 'b': ('122', '1170')}


def stored(folder):
    rows = yaml.safe_load((config_root() / folder / 'metafile.yml').read_text())['Models']
    return {Path(row['Config']).stem: row['Metadata'] for row in rows}


@pytest.mark.parametrize('size', NAMES)
def test_without_the_gates_the_counts_are_those_that_convnext_prints(size):
    row = stored('upernet')[f'selnext_{size}_ade20k']
    params, flops = PRINTED[size]
    assert meets(row['Parameters'] - MORE[size], params, 'params')
    assert meets(row['FLOPs'], flops, 'flops')
    if size == 't':
        baseline = stored('upernet')['convnext_t_ade20k']
        assert baseline['Parameters'] == row['Parameters'] - MORE[size]


def stock(name):
    import mmseg

    folder = Path(mmseg.__file__).parent / '.mim' / 'configs'
    if not folder.is_dir():
        pytest.skip('an mmseg that was installed with its configs (pip install mmsegmentation)')
    return Config.fromfile(folder / name, import_custom_modules=False)


def plain(node):
    """Without what has a default, and lists for tuples."""
    if isinstance(node, dict):
        return {k: plain(v) for k, v in node.items() if v is not None}
    return [plain(v) for v in node] if isinstance(node, list | tuple) else node


@needs_mmseg
@pytest.mark.parametrize('size', NAMES)
def test_the_recipe_is_the_one_that_mmsegmentation_trains_convnext_by(size):
    ours = load_config(f'upernet/selnext_{size}_ade20k.py')
    theirs = stock(f'convnext/convnext-{NAMES[size]}_upernet_8xb2-amp-160k_ade20k-512x512.py')
    for key in ('decode_head', 'auxiliary_head', 'data_preprocessor', 'test_cfg', 'train_cfg'):
        assert plain(ours.model[key]) == plain(theirs.model[key]), key
    mine, other = ours.model.backbone, theirs.model.backbone
    assert mine.arch == other.arch
    for key in ('drop_path_rate', 'layer_scale_init_value', 'gap_before_final_norm'):
        assert mine[key] == other[key], key
    assert list(mine.out_indices) == list(other.out_indices)
    for key in (*LOADERS, 'val_evaluator', 'param_scheduler', 'train_cfg', 'tta_model'):
        assert plain(ours[key]) == plain(theirs[key]), key
    mine, other = ours.optim_wrapper, theirs.optim_wrapper
    assert plain(mine.optimizer) == plain(other.optimizer)
    assert other.paramwise_cfg == {
        'decay_rate': mine.paramwise_cfg.layer_decay_rate,
        'decay_type': mine.paramwise_cfg.decay_type,
        'num_layers': 6 if size == 't' else 12,
    }
    assert ours.auto_scale_lr.base_batch_size == 8 * ours.train_dataloader.batch_size


@needs_mmseg
def test_semantic_fpn_is_mmsegmentations_with_poolformers_recipe():
    ours = load_config('semantic_fpn/selnext_t_ade20k.py')
    theirs = stock('poolformer/fpn_poolformer_s12_8xb4-40k_ade20k-512x512.py')
    assert plain(ours.model.decode_head) == plain(theirs.model.decode_head)
    assert plain(ours.model.test_cfg) == plain(theirs.model.test_cfg)
    assert {**ours.model.neck, 'in_channels': 0} == {**theirs.model.neck, 'in_channels': 0}
    assert plain(ours.param_scheduler) == plain(theirs.param_scheduler)
    given = {k: v for k, v in ours.optim_wrapper.optimizer.items() if k != 'betas'}
    assert given == theirs.optim_wrapper.optimizer
    assert ours.train_cfg == theirs.train_cfg
    loader = theirs.train_dataloader
    assert ours.train_dataloader.batch_size == loader.batch_size
    # Theirs repeats the list of images, which an endless sampler does not need.
    assert plain(ours.train_dataloader.dataset) == plain(loader.dataset.dataset)


@needs_mmseg
def test_complexity_counts_segmentors_at_the_size_of_the_fields_tables(capsys):
    assert (
        main(['complexity', 'upernet/selnext_t_ade20k.py', 'semantic_fpn/selnext_t_ade20k.py']) == 0
    )
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:3]]
    assert [row[:3] for row in rows] == [
        ['upernet/selnext_t_ade20k.py', '512x2048', '66.780'],
        ['semantic_fpn/selnext_t_ade20k.py', '512x2048', '38.732'],
    ]
    assert [row[5] for row in rows] == ['938.677', '179.944']


MINE = """
_base_ = 'mmseg::convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py'
custom_imports = dict(imports=['selnext_mm'], allow_failed_imports=False)
model = dict(
    backbone=dict(_delete_=True, type='SELNeXt', arch='tiny', out_indices=(0, 1, 2, 3))
)
optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(_delete_=True, layer_decay_rate=0.9, decay_type='stage_wise'),
)
"""


@needs_mmseg
def test_a_config_of_mmsegmentation_takes_the_backbone(tmp_path):
    from mmengine.optim import build_optim_wrapper

    page = (config_root().parent / 'docs' / 'segmentation.md').read_text()
    assert f'```python{MINE}```' in page
    path = tmp_path / 'mine.py'
    path.write_text(MINE)
    cfg = load_config(path)
    with torch.device('meta'):
        model = build_model(cfg)
    assert (
        sum(p.numel() for p in model.parameters())
        == (stored('upernet')['selnext_t_ade20k']['Parameters'])
    )
    cfg.optim_wrapper.type = 'OptimWrapper'  # without a GPU
    cfg.optim_wrapper.pop('loss_scale')
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    assert min(g['lr'] for g in groups) == pytest.approx(1e-4 * 0.9**7)


@needs_mmseg
def test_names_of_mmsegmentation_are_known_in_the_scope_of_this_package():
    with MODELS.switch_scope_and_registry('selnext_mm') as scoped:
        assert scoped.get('UPerHead').__module__.startswith('mmseg.')
        assert scoped.get('MaskRCNN').__module__.startswith('mmdet.')


@needs_mmseg
def test_of_a_segmentor_backbone_and_neck_are_exported():
    with torch.device('meta'):
        upernet, fpn = (
            build_model(load_config(f'{folder}/selnext_t_ade20k.py'))
            for folder in ('upernet', 'semantic_fpn')
        )
    assert (choose_part(upernet, None), choose_part(fpn, None)) == ('backbone', 'backbone-neck')
    for part in ('classifier', 'detector'):
        with pytest.raises(UserError, match=f'--part {part} is for .* this model is a segmentor'):
            choose_part(fpn, part)


@needs_mmseg
def test_the_baseline_is_mmsegmentations_convnext():
    theirs = stock('convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py')
    theirs.model.backbone.init_cfg = None
    counts = measure_model(build_model(theirs).eval())
    row = stored('upernet')['convnext_t_ade20k']
    assert counts.shape == (512, 2048)
    assert counts.params == row['Parameters']
    # mmpretrain's norms are functions, which the counter does not see.
    assert counts.macs == pytest.approx(row['FLOPs'], rel=1e-3)
