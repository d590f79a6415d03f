"""Where the papers are silent or contradict themselves, the pages say what the configs do."""

from itertools import pairwise

import pytest
import torch
from mmengine.registry import DefaultScope

from selnext_mm.analysis.complexity import build_model
from selnext_mm.config.load import load_config
from selnext_mm.registry import MODELS


def section(root, page, heading):
    """First cell -> the other cells, of the tables under a heading of a page."""
    text = (root / 'docs' / page).read_text()
    part = text.split(f'\n{heading}\n')[1].split('\n## ')[0]
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in part.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def test_imagenet_is_trained_in_float32_and_without_clipping(root):
    rows = section(root, 'recipes.md', '## ImageNet-1k')
    cfg = load_config('cls/selnext_t_in1k.py')
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert 'clip_grad' not in cfg.optim_wrapper
    assert rows['precision'][0] == 'float32'
    assert rows['gradient clipping'][0] == 'none'


def test_the_small_comparison_has_imagenets_layer_scale(root):
    rows = section(root, 'recipes.md', '## The small comparison on CIFAR-10')
    cfg = load_config('cls/cifar10/selnext_atto_cifar10.py')
    with torch.device('meta'):
        gamma = build_model(cfg).backbone.stages[0][0].gamma
    assert rows['layer scale'][0].startswith('1e-6')
    assert gamma is not None
    assert 'layer_scale_init_value' not in cfg.model.backbone
    assert cfg.optim_wrapper.type == 'OptimWrapper'
    assert 'clip_grad' not in cfg.optim_wrapper
    assert rows['precision, gradient clipping'] == ['float32, none']
    options = {'model.backbone.layer_scale_init_value': 1.0}
    one = load_config('cls/cifar10/selnext_atto_cifar10.py', options)
    assert build_model(one).backbone.stages[0][0].gamma.eq(1).all()


def test_the_quick_comparison_is_the_one_that_runs(root):
    from selnext_mm.analysis.comparison import compare, quick

    rows = section(root, 'recipes.md', '## The quick comparison on CIFAR-10')
    few, on_cpu = compare.QUICK_REDUCED, compare.QUICK_CPU_BATCH
    numbers = (quick.BATCH_SIZE, quick.EPOCHS, on_cpu, few['epochs'])
    assert rows['batch, epochs'] == ['{}, {}; on a CPU {}, {}'.format(*numbers)]
    assert f'{few["train_images"]:,} and {few["val_images"]:,}' in rows['images'][0]
    lr = 1e-3 * (quick.BATCH_SIZE / quick.BASE_BATCH_SIZE) ** 0.5
    assert rows['lr'] == [f'1e-3 x sqrt(batch / 64): {lr * 1000:.2f}e-3 for {quick.BATCH_SIZE}']
    assert f'padding {quick.PADDING} with zeros' in rows['augmentation'][0]


def test_the_add_on_layers_of_patnets_detector_start_as_mmdets(root):
    row = section(root, 'patnet.md', '## Where we leave the published code')
    (reason,) = row["add-on layers of Mask R-CNN: mmdet's initialisations"]
    assert 'Xavier in the FPN' in reason
    cfg = load_config('mask_rcnn/patnet_s_1x_coco.py')
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = build_model(cfg)
    kinds = {
        part: {cfg['type'] for cfg in (found if isinstance(found, list) else [found])}
        for part, found in (
            ('neck', model.neck.init_cfg),
            ('rpn', model.rpn_head.init_cfg),
            ('box', model.roi_head.bbox_head.init_cfg),
        )
    }
    assert kinds == {'neck': {'Xavier'}, 'rpn': {'Normal'}, 'box': {'Xavier', 'Normal'}}
    assert 'Kaiming in the mask head' in reason
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        mask = MODELS.build(cfg.model.roi_head.mask_head)
    mask.init_weights()
    for layer in (mask.upsample, mask.conv_logits):
        fan_out = layer.weight[:, 0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)


def test_both_printed_sizes_of_patnet_l_are_named(root):
    text = (root / 'docs/patnet.md').read_text()
    assert '104.4 M in Table 6 and as 104.3 M in Tables 1, 9 and 11' in text


def test_timms_rmsprop_keeps_the_rate_of_past_updates(root):
    optim = pytest.importorskip('timm.optim', reason='pip install timm (the extra timm)')
    rates = section(
        root,
        'ablations.md',
        '## Tables 6 and 7: attention in MobileNetV3-Large (ImageNet-1k, 224 x 224)',
    )
    assert 'lr_in_momentum' in rates['momentum buffer of RMSprop'][1]
    options = dict(lr=0.5, alpha=0.9, momentum=0.9, eps=0.0)
    moved = {}
    for name, kind in (('torch', torch.optim.RMSprop), ('timm', optim.RMSpropTF)):
        weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        optimizer = kind([weight], **options)
        places = [0.0]
        for step in range(240):
            optimizer.param_groups[0]['lr'] = 0.5 if step < 200 else 0.05
            weight.grad = torch.ones_like(weight)
            optimizer.step()
            places.append(weight.item())
        moved[name] = [a - b for a, b in pairwise(places)]
    # A constant gradient: one update is the rate, and momentum 0.9 adds up ten of them.
    for name in moved:
        assert moved[name][199] == pytest.approx(5, rel=1e-3)
        assert moved[name][239] == pytest.approx(0.5, rel=0.2)
    assert moved['torch'][200] == pytest.approx(0.5, rel=1e-3)
    assert moved['timm'][200] == pytest.approx(0.9 * 5 + 0.05, rel=1e-3)
    assert moved['timm'][210] == pytest.approx(0.5 + 4.5 * 0.9**11, rel=1e-2)
