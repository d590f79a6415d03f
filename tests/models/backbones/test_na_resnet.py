"""NA-ResNet against the oracle on published names, and against mmdet's plugin."""

import re
import subprocess
import sys

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from selnext_mm.errors import UserError
from tests.oracles.nanet import RESNETS, published_weights, resnet_stages, resnet_table

pytest.importorskip('mmdet', reason='NAResNet derives from mmdet; install mmdet to run this')
NARROW = dict(base_channels=8)
PLUGIN = dict(cfg=dict(type='NAModule'), position='after_conv3')


def build(depth, **kwargs):
    return MODELS.build(dict(type='NAResNet', depth=depth, **kwargs))


def ours(state):
    """Published names in ours, written down a second time for this test."""
    state = {re.sub(r'\.na\.(weight|bias)2$', r'.na.\1', k): v for k, v in state.items()}
    return {k: v for k, v in state.items() if not k.startswith('fc.')}


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('size', [(64, 64), (33, 71), (1, 1)])
def test_stages_equal_the_oracle(depth, size):
    state = published_weights(resnet_table(depth, width=8))
    model = build(depth, **NARROW).double().eval()
    model.load_state_dict(ours(state), strict=True)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    for a, b in zip(model(x), resnet_stages(state, x, depth), strict=True):
        assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('depth', sorted(RESNETS))
def test_tensors_are_the_published_ones(depth):
    with torch.device('meta'):
        model = build(depth)
    table = ours(resnet_table(depth))
    assert {k: tuple(v.shape) for k, v in model.state_dict().items()} == table


@pytest.mark.parametrize(('depth', 'classifier'), [(18, 11_689_528), (50, 25_557_064)])
def test_parameters_are_the_published_counts(depth, classifier):
    with torch.device('meta'):
        model = build(depth)
    head = 1000 * model.feat_dim + 1000
    assert sum(p.numel() for p in model.parameters()) + head == classifier


def test_the_embedding_of_table_2_adds_672_to_the_plain_model():
    with torch.device('meta'):
        model = build(50, attention_cfg=dict(type='NAModule', embedding=True))
    assert sum(p.numel() for p in model.parameters()) + 2_049_000 == 25_557_704


@pytest.mark.parametrize('depth', [50, 101, 152])
def test_it_is_mmdets_resnet_with_the_plugin(depth):
    from mmdet.registry import MODELS as MMDET

    with torch.device('meta'):
        model = build(depth)
        stock = MMDET.build(dict(type='ResNet', depth=depth, plugins=[PLUGIN]))
    ours = str(model).replace('CheckpointedBottleneck', 'Bottleneck')
    assert ours.partition('\n')[2] == str(stock).partition('\n')[2]
    assert list(model.state_dict()) == list(stock.state_dict())


@pytest.mark.parametrize('scope', ['mmdet', 'mmpretrain', 'mmengine'])
def test_the_name_works_in_every_scope(scope):
    from importlib import import_module

    registry = import_module(f'{scope}.registry').MODELS
    model = registry.build(dict(type='NAResNet', depth=18, **NARROW))
    assert type(model).__name__ == 'NAResNet'


def test_importing_the_package_imports_neither_mmdet_nor_mmpretrain():
    code = (
        'import sys, selnext_mm; from mmengine.registry import MODELS;'
        'assert "NAResNet" in MODELS.module_dict;'
        'print([m for m in ("mmcv", "mmdet", "mmpretrain") if m in sys.modules])'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr


@pytest.mark.parametrize('depth', [18, 50])
def test_every_parameter_gets_a_gradient(depth):
    model = build(depth, zero_init_residual=False, norm_eval=False, **NARROW)
    model.init_weights()
    assert model.train() is model
    for name, parameter in model.named_parameters():
        if name.endswith('na.weight'):
            torch.nn.init.ones_(parameter)
    outs = model(torch.randn(2, 3, 64, 64))
    sum((out * torch.randn_like(out)).sum() for out in outs).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_checkpointing_changes_no_gradient_of_a_basic_block():
    plain, checkpointed = build(18, **NARROW), build(18, with_cp=True, **NARROW)
    plain.init_weights()
    checkpointed.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain.train(), checkpointed.train()):
        sum((out**2).sum() for out in model(x)).backward()
    for (name, p), q in zip(plain.named_parameters(), checkpointed.parameters(), strict=True):
        assert_close(p.grad, q.grad, msg=name)


@pytest.mark.parametrize('depth', [18, 50])
def test_the_first_stage_freezes_with_its_scalars(depth):
    model = build(depth, frozen_stages=1, **NARROW).train()
    trained = [n for n, p in model.named_parameters() if p.requires_grad and '.na.' in n]
    assert len(trained) == 2 * sum(RESNETS[depth][1][1:])
    assert not any(n.startswith('layer1.') for n in trained)


@pytest.mark.parametrize('depth', [18, 50])
@pytest.mark.parametrize('zero', [True, False])
def test_zero_init_residual_reaches_the_last_norm(depth, zero):
    model = build(depth, zero_init_residual=zero, **NARROW)
    model.init_weights()
    last = 'bn2' if depth == 18 else 'bn3'
    for stage in model.res_layers:
        for block in getattr(model, stage):
            assert (getattr(block, last).weight == (0 if zero else 1)).all()
            assert (block.na.weight.item(), block.na.bias.item()) == (0, 1)


@pytest.mark.parametrize('depth', [18, 50])
def test_a_classifiers_checkpoint_loads_into_a_detectors_backbone(depth, tmp_path):
    from mmpretrain.registry import MODELS as MMPRETRAIN

    width = {18: 64, 50: 256}[depth]
    classifier = MMPRETRAIN.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='NAResNet', depth=depth, out_indices=(3,), norm_eval=False, **NARROW
            ),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=width),
        )
    )
    classifier.init_weights()
    assert classifier.train()(torch.randn(2, 3, 64, 64), mode='tensor').shape == (2, 10)
    torch.save({'state_dict': classifier.state_dict()}, tmp_path / 'cls.pth')
    pretrained = dict(
        type='Pretrained', checkpoint=str(tmp_path / 'cls.pth'), prefix='backbone.', min_loaded=1.0
    )
    backbone = build(depth, frozen_stages=1, init_cfg=pretrained, **NARROW)
    backbone.init_weights()
    expected = {
        k.removeprefix('backbone.'): v
        for k, v in classifier.state_dict().items()
        if k.startswith('backbone.')
    }
    assert backbone.state_dict().keys() == expected.keys()
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_weights_of_a_plain_resnet_are_refused_and_can_be_allowed(tmp_path):
    plain = build(18, attention_cfg=None, **NARROW)
    torch.save(plain.state_dict(), tmp_path / 'plain.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'plain.pth'))
    with pytest.raises(UserError, match=r'loaded 120 of 136.*layer1\.0\.na\.weight'):
        build(18, init_cfg=init_cfg, **NARROW).init_weights()
    build(18, init_cfg=dict(init_cfg, min_loaded=0.8), **NARROW).init_weights()


def test_attention_can_be_left_out_or_another():
    assert not any('.na.' in k for k in build(18, attention_cfg=None, **NARROW).state_dict())
    model = build(18, attention_cfg=dict(type='ContextBlock', ratio=0.25), **NARROW)
    assert model.layer1[0].context_block.conv_mask.weight.shape == (1, 8, 1, 1)


def test_wrong_arguments_name_the_choices():
    with pytest.raises(KeyError, match='invalid depth 51'):
        build(51)
    with pytest.raises(ValueError, match=r"'after_conv3'.*'after_conv2'"):
        build(18, plugins=[PLUGIN])


def test_another_module_in_the_place_of_the_3x3_convolution():
    sk = dict(type='SelectiveKernel', groups=2, reduction=4)
    model = build(50, attention_cfg=None, conv2_cfg=sk, norm_eval=False, **NARROW)
    block = model.layer2[0]  # the one with a stride
    assert [type(m).__name__ for m in (block.conv2, block.bn2)] == ['SelectiveKernel', 'Identity']
    maps = model(torch.randn(2, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [(2, 32 << i, 16 >> i, 16 >> i) for i in range(4)]
    maps[-1].sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    block.eval()
    x = torch.randn(2, 32, 8, 8)
    y = torch.relu(block.bn1(block.conv1(x)))
    y = block.bn3(block.conv3(block.conv2(y)))
    assert_close(block(x), torch.relu(y + block.downsample(x)))


def test_a_basic_block_has_no_such_place():
    with pytest.raises(ValueError, match='conv2_cfg is for depths 50, 101 and 152'):
        build(18, conv2_cfg=dict(type='SelectiveKernel'))


@pytest.mark.parametrize('conv2_cfg', [None, dict(type='SelectiveKernel', groups=2, reduction=4)])
def test_checkpointed_bottlenecks_update_running_statistics_once(conv2_cfg):
    options = dict(norm_eval=False, conv2_cfg=conv2_cfg, **NARROW)
    plain, saving = build(50, **options), build(50, with_cp=True, **options)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for model in (plain, saving):
        sum((out**2).sum() for out in model(x)).backward()
    for (name, a), b in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert_close(a, b, msg=name)
    for (name, a), b in zip(plain.named_parameters(), saving.parameters(), strict=True):
        assert_close(a.grad, b.grad, msg=name)
