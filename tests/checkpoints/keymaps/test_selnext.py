"""Key maps against an independent table of the official names and a transcribed forward pass."""

import pytest
import torch
import torch.nn.functional as F

from selnext_mm.checkpoints.keymaps.selnext import expected_shapes
from selnext_mm.checkpoints.keymaps.sources import KEY_MAPS, convert_keys
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.selnext import SELNeXt
from tests.oracles.official_selnext_keys import TINY, TOY, official_table, official_weights
from tests.oracles.selnext import forward_official, stages_official


def backbone_of(state):
    return {k.removeprefix('backbone.'): v for k, v in state.items() if k.startswith('backbone.')}


def toy_selnext(**kwargs):
    depths, widths = TOY
    return SELNeXt(arch={'depths': depths, 'channels': widths}, **kwargs).eval()


def relative_error(value, reference):
    return ((value - reference).norm() / reference.norm()).item()


@pytest.fixture
def official():
    return official_weights(*TOY)


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def convnext(official):
    """What mmpretrain's ConvNeXt of the same widths stores."""
    state = convert_keys(official, 'selnext').state
    state = {k: v for k, v in state.items() if '.attention.' not in k}
    for key in [k for k in state if k.endswith('depthwise_conv.bias')]:
        name = key.replace('depthwise_conv.bias', 'norm')
        state[f'{name}.weight'] = torch.ones_like(state[key])
        state[f'{name}.bias'] = torch.zeros_like(state[key])
    return state


def test_the_oracle_table_of_tiny_has_the_official_size():
    table = official_table(*TINY)
    assert len(table) == 254
    assert sum(torch.Size(shape).numel() for shape in table.values()) == 35_126_656


def test_classifier_equals_the_official_forward(official, image):
    mapping = convert_keys(official, 'selnext', 'classifier')
    assert len(mapping.state) == len(official)
    assert not mapping.dropped
    assert not mapping.at_init
    assert (mapping.arch.depths, mapping.arch.channels) == TOY

    model = toy_selnext()
    model.load_state_dict(backbone_of(mapping.state), strict=True)
    logits = F.linear(
        model(image)[-1], mapping.state['head.fc.weight'], mapping.state['head.fc.bias']
    )
    assert relative_error(logits, forward_official(official, image, TOY[0])) <= 1e-5


def test_detection_backbone_equals_the_official_stages(official, image):
    mapping = convert_keys(official, 'selnext', 'detection')
    assert set(mapping.dropped) == {'norm.weight', 'norm.bias', 'head.weight', 'head.bias'}
    assert list(mapping.at_init) == ['backbone.norm{0..3}.{weight,bias}']

    model = toy_selnext(out_indices=(0, 1, 2, 3), gap_before_final_norm=False)
    lost = model.load_state_dict(backbone_of(mapping.state), strict=False)
    assert not lost.unexpected_keys
    norms = {f'norm{i}.{p}' for i in range(4) for p in ('weight', 'bias')}
    assert set(lost.missing_keys) == norms

    for i, stage in enumerate(stages_official(official, image, TOY[0])):
        setattr(model, f'norm{i}', torch.nn.Identity())
        assert relative_error(model(image)[i], stage) <= 1e-5


@pytest.mark.parametrize('target', ['classifier', 'detection'])
def test_tiny_maps_onto_the_model_key_by_key(target):
    state = {k: torch.empty(s, device='meta') for k, s in official_table(*TINY).items()}
    mapped = convert_keys(state, 'selnext', target).state
    with torch.device('meta'):
        model = SELNeXt(arch='tiny')
    model = {f'backbone.{k}': v.shape for k, v in model.state_dict().items()}
    if target == 'detection':
        model = {k: v for k, v in model.items() if not k.startswith('backbone.norm')}
    else:
        model |= {'head.fc.weight': (1000, 768), 'head.fc.bias': (1000,)}
    assert {k: tuple(v.shape) for k, v in mapped.items()} == {k: tuple(v) for k, v in model.items()}


def test_no_tensor_is_altered(official):
    state = convert_keys(official, 'selnext').state
    assert {id(v) for v in state.values()} == {id(v) for v in official.values()}


def test_convnext_keeps_the_shared_parts(official, convnext):
    mapping = convert_keys(convnext, 'convnext-mmpretrain', 'classifier')
    blocks = sum(TOY[0])
    assert len(mapping.dropped) == 2 * blocks
    assert all(key.split('.')[-2] == 'norm' for key in mapping.dropped)
    assert list(mapping.at_init) == ['backbone.stages.*.*.attention.*']

    model = toy_selnext()
    lost = model.load_state_dict(backbone_of(mapping.state), strict=False)
    assert not lost.unexpected_keys
    assert len(lost.missing_keys) == 6 * blocks
    assert all('.attention.' in key for key in lost.missing_keys)
    assert torch.equal(
        model.stages[2][1].pointwise_conv1.weight, official['stages.2.1.pwconv1.weight']
    )


def test_convnext_of_mmpretrain_itself_is_accepted():
    convnext = pytest.importorskip('mmpretrain.models').ConvNeXt
    depths, widths = TOY
    model = convnext(arch={'depths': list(depths), 'channels': list(widths)})
    state = {f'backbone.{k}': v for k, v in model.state_dict().items()}
    state |= {'head.fc.weight': torch.zeros(10, widths[-1]), 'head.fc.bias': torch.zeros(10)}
    mapping = convert_keys(state, 'convnext-mmpretrain', 'detection')
    assert len(mapping.state) + len(mapping.dropped) == len(state)
    assert set(mapping.at_init) == {
        'backbone.stages.*.*.attention.*',
        'backbone.norm{0..3}.{weight,bias}',
    }


def test_pointwise_convolutions_become_linear(convnext):
    as_convs = {
        k: v[:, :, None, None] if 'pointwise' in k and v.ndim == 2 else v
        for k, v in convnext.items()
    }
    mapped = convert_keys(as_convs, 'convnext-mmpretrain').state
    assert mapped['backbone.stages.0.0.pointwise_conv1.weight'].shape == (32, 8)
    assert torch.equal(
        mapped['backbone.stages.3.0.pointwise_conv2.weight'],
        convnext['backbone.stages.3.0.pointwise_conv2.weight'],
    )


def test_other_widths_classes_and_channels_are_read_off_the_shapes(official):
    official['downsample_layers.0.0.weight'] = torch.zeros(8, 1, 4, 4)
    official['head.weight'], official['head.bias'] = torch.zeros(7, 32), torch.zeros(7)
    mapping = convert_keys(official, 'selnext')
    assert mapping.state['head.fc.bias'].shape == (7,)


def test_a_model_without_layer_scale_is_whole(official):
    state = {k: v for k, v in official.items() if not k.endswith('gamma')}
    mapping = convert_keys(state, 'selnext')
    assert not mapping.arch.layer_scale
    model = toy_selnext(layer_scale_init_value=0)
    model.load_state_dict(backbone_of(mapping.state), strict=True)


def test_detection_needs_no_head(official):
    backbone = {k: v for k, v in official.items() if not k.startswith(('norm', 'head'))}
    assert not convert_keys(backbone, 'selnext', 'detection').dropped
    with pytest.raises(UserError, match=r'4 missing: backbone\.norm3\.weight, .*head\.fc\.weight'):
        convert_keys(backbone, 'selnext', 'classifier')


def test_unknown_keys_are_named_up_to_five(official):
    official |= {f'extra.{i}': torch.zeros(1) for i in range(7)}
    with pytest.raises(UserError, match=r'7 of \d+ keys .*: extra\.0, .*extra\.4 and 2 more'):
        convert_keys(official, 'selnext')


@pytest.mark.parametrize('source', ['selnext', 'convnext-mmpretrain'])
def test_weights_of_the_other_source_are_refused(source, official, convnext):
    other = convnext if source == 'selnext' else official
    with pytest.raises(UserError, match='check --from'):
        convert_keys(other, source)


def test_a_value_that_is_no_tensor_is_refused(official):
    official['norm.weight'] = 'text'
    with pytest.raises(UserError, match=r'norm\.weight \(a str, not a tensor\)'):
        convert_keys(official, 'selnext')


@pytest.mark.parametrize(
    ('key', 'ours'),
    [
        ('stages.2.1.norm.gate.bias', 'backbone.stages.2.1.attention.norm.bias'),
        ('stages.1.0.gamma', 'backbone.stages.1.0.gamma'),
        ('downsample_layers.2.1.weight', 'backbone.downsample_layers.2.1.weight'),
        ('head.weight', 'head.fc.weight'),
    ],
)
def test_a_missing_key_is_named(official, key, ours):
    del official[key]
    with pytest.raises(UserError, match=rf'1 missing: {ours}'):
        convert_keys(official, 'selnext')


def test_a_missing_block_in_the_middle_is_named(official):
    state = {k: v for k, v in official.items() if not k.startswith('stages.2.1.')}
    with pytest.raises(UserError, match=r'13 missing: backbone\.stages\.2\.1\.'):
        convert_keys(state, 'selnext')


@pytest.mark.parametrize('key', list(official_table(*TOY)))
def test_every_wrong_shape_is_found(official, key):
    official[key] = torch.zeros(*official[key].shape, 2)
    with pytest.raises(UserError, match=r'of another shape|missing'):
        convert_keys(official, 'selnext')


def test_a_wrong_shape_is_told_with_the_expected_one(official):
    official['stages.0.0.dwconv.weight'] = torch.zeros(8, 1, 5, 5)
    message = r'depthwise_conv\.weight is \(8, 1, 5, 5\), expected \(8, 1, 7, 7\)'
    with pytest.raises(UserError, match=message):
        convert_keys(official, 'selnext')


def test_a_fifth_stage_is_refused(official):
    official['stages.4.0.gamma'] = torch.zeros(8)
    with pytest.raises(UserError, match='stage 4'):
        convert_keys(official, 'selnext')


@pytest.mark.parametrize('source', KEY_MAPS)
def test_an_empty_state_is_refused(source):
    with pytest.raises(UserError, match='missing'):
        convert_keys({}, source)


def test_unknown_source_and_target_name_the_choices(official):
    with pytest.raises(
        UserError,
        match='choose from selnext, convnext-mmpretrain, timm-convnext, dinov3-convnext',
    ):
        convert_keys(official, 'resnet')
    with pytest.raises(UserError, match='choose from classifier, detection'):
        convert_keys(official, 'selnext', 'segmentation')


def test_expected_shapes_sum_to_the_printed_parameters():
    for depths, widths, count in (
        ((3, 3, 9, 3), (96, 192, 384, 768), 35_126_656),
        ((3, 3, 27, 3), (96, 192, 384, 768), 62_140_480),
        ((3, 3, 27, 3), (128, 256, 512, 1024), 109_715_208),
    ):
        shapes = expected_shapes(depths, widths, num_classes=1000)
        assert sum(torch.Size(shape).numel() for shape in shapes.values()) == count
