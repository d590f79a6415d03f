"""Published NA weights against an independent table of names and a transcribed forward pass."""

import pytest
import torch
from torch.testing import assert_close

from selnext_mm.__main__ import main
from selnext_mm.checkpoints.keymaps.selnext import convert_keys
from selnext_mm.errors import UserError
from tests.oracles.nanet import (
    RESNETS,
    mobilenet_table,
    mobilenet_v2,
    published_weights,
    resnet,
    resnet_table,
)

pytest.importorskip('mmdet', reason='NAResNet derives from mmdet; install mmdet to run this')
pytest.importorskip('mmpretrain', reason='NAMobileNetV2 derives from mmpretrain; install it')
CLASSES = 5


def on_meta(table):
    return {name: torch.empty(shape, device='meta') for name, shape in table.items()}


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}


def classifier(backbone, width, **kwargs):
    from mmpretrain.registry import MODELS

    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type=backbone, **kwargs),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=CLASSES, in_channels=width),
        )
    ).eval()


@pytest.fixture
def small():
    return published_weights(resnet_table(18, CLASSES, width=8))


@pytest.mark.parametrize(('depth', 'width'), [(18, 64), (50, 256)])
def test_a_converted_resnet_computes_what_the_published_one_does(depth, width):
    state = published_weights(resnet_table(depth, CLASSES, width=8))
    mapping = convert_keys(state, 'nanet')
    assert len(mapping.state) == len(state)
    assert (mapping.model, mapping.arch) == ('NAResNet', f'depth={depth}, base_channels=8')
    model = classifier('NAResNet', width, depth=depth, out_indices=(3,), base_channels=8).double()
    model.load_state_dict(mapping.state, strict=True)
    x = torch.randn(2, 3, 64, 70, dtype=torch.float64)
    assert_close(model(x, mode='tensor'), resnet(state, x, depth), rtol=1e-9, atol=1e-9)


def test_a_converted_mobilenet_computes_what_the_published_one_does():
    state = published_weights(mobilenet_table(CLASSES))
    mapping = convert_keys(state, 'nanet')
    assert len(mapping.state) == len(state)
    model = classifier('NAMobileNetV2', 1280).double()
    model.load_state_dict(mapping.state, strict=True)
    x = torch.randn(1, 3, 64, 65, dtype=torch.float64)
    assert_close(model(x, mode='tensor'), mobilenet_v2(state, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize('depth', sorted(RESNETS))
@pytest.mark.parametrize('target', ['classifier', 'detection'])
def test_every_depth_maps_onto_the_model_key_by_key(depth, target):
    mapping = convert_keys(on_meta(resnet_table(depth, CLASSES)), 'nanet', target)
    with torch.device('meta'):
        model = classifier('NAResNet', 512 if depth < 50 else 2048, depth=depth)
    expected = shapes(model.state_dict())
    if target == 'detection':
        assert set(mapping.dropped) == {'fc.weight', 'fc.bias'}
        expected = {k: v for k, v in expected.items() if k.startswith('backbone.')}
    assert shapes(mapping.state) == expected
    assert mapping.arch == f'depth={depth}'
    assert not mapping.at_init


def test_the_table_without_the_module_is_torchvisions():
    """The published names are torchvision's plus the module's, so torchvision checks the rest."""
    models = pytest.importorskip('torchvision.models')
    for table, make in (
        (resnet_table(18, attention=False), models.resnet18),
        (resnet_table(50, attention=False), models.resnet50),
        (mobilenet_table(attention=False), models.mobilenet_v2),
    ):
        with torch.device('meta'):
            assert table == shapes(make().state_dict())


def test_the_prefix_of_a_parallel_run_is_removed(small):
    plain = convert_keys(small, 'nanet').state
    parallel = convert_keys({f'module.{k}': v for k, v in small.items()}, 'nanet').state
    assert {k: id(v) for k, v in parallel.items()} == {k: id(v) for k, v in plain.items()}


@pytest.mark.parametrize('table', [resnet_table(50), mobilenet_table()])
@pytest.mark.parametrize('parameter', ['weight', 'bias'])
def test_weights_of_a_plain_model_are_refused(table, parameter):
    plain = {k: v for k, v in table.items() if not k.endswith(f'.na.{parameter}2')}
    with pytest.raises(UserError, match=rf'\d\d missing: backbone\.layer1\.0\..*na\.{parameter}'):
        convert_keys(on_meta(plain), 'nanet')


@pytest.mark.parametrize('key', ['layer2.1.bn2.running_var', 'layer1.0.na.bias2', 'conv1.weight'])
def test_a_missing_key_is_named(small, key):
    del small[key]
    with pytest.raises(UserError, match='missing: backbone.' + key.removesuffix('2')):
        convert_keys(small, 'nanet')


def test_a_missing_head_is_named(small):
    del small['fc.weight']
    with pytest.raises(UserError, match=r'missing: head\.fc\.weight'):
        convert_keys(small, 'nanet')


def test_a_missing_block_is_told_with_the_depths(small):
    state = {k: v for k, v in small.items() if not k.startswith('layer3.1.')}
    with pytest.raises(UserError, match=r'\(2, 2, 1, 2\) blocks.*18, 34, 50'):
        convert_keys(state, 'nanet')


def test_a_wrong_shape_is_told_with_the_expected_one(small):
    small['layer1.0.na.weight2'] = torch.zeros(1, 8)
    with pytest.raises(UserError, match=r'layer1\.0\.na\.weight is \(1, 8\), expected \(1,\)'):
        convert_keys(small, 'nanet')


def test_another_variant_of_the_repository_is_refused(small):
    small['layer1.0.na.weight1'] = torch.zeros(1)
    with pytest.raises(UserError, match=r'layer1\.0\.na\.weight1.*check --from'):
        convert_keys(small, 'nanet')


def test_the_command_reports_the_model_and_its_output_loads(small, tmp_path, capsys):
    torch.save({'state_dict': small, 'epoch': 100}, tmp_path / 'in.pth')
    out = tmp_path / 'out.pth'
    arguments = [str(tmp_path / 'in.pth'), str(out), '--from', 'nanet', '--to', 'detection']
    assert main(['convert', *arguments]) == 0
    text = capsys.readouterr().out
    assert 'model     NAResNet, depth=18, base_channels=8' in text
    assert f'{len(small)} in, {len(small) - 2} mapped, 2 dropped' in text
    init_cfg = eval(text.splitlines()[-1].split(' = ')[1], {'dict': dict})  # our own output
    from mmdet.registry import MODELS

    model = MODELS.build(
        dict(
            type='NAResNet',
            depth=18,
            base_channels=8,
            frozen_stages=1,
            init_cfg=dict(init_cfg, min_loaded=1.0),
        )
    )
    model.init_weights()
    assert torch.equal(model.layer4[1].na.bias, small['layer4.1.na.bias2'].float())
