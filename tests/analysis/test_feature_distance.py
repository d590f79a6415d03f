"""Feature distance and gate scales against the oracles, on ours and mmpretrain's models."""

import pytest
import torch
from mmengine.registry import MODELS

from selnext_mm.analysis import feature_distance as module_of_distances
from selnext_mm.analysis.feature_distance import cosine_distances, feature_distance, probes
from selnext_mm.analysis.gate_scales import gate_scales
from selnext_mm.errors import UserError
from selnext_mm.models.backbones import AttentionMobileNetV3, SELNeXt
from tests.oracles.feature_distance import feature_distance as oracle
from tests.oracles.na import context

PATNET = dict(depths=(1, 1, 1, 1), channels=(16, 32, 64, 128))
TINY = dict(depths=(1, 1, 2, 1), channels=(8, 12, 16, 20))


def selnext(**kwargs):
    model = SELNeXt(TINY, layer_scale_init_value=0.5, **kwargs).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.mark.parametrize('scale', [1e-30, 1.0, 1e30])
def test_equals_the_pairwise_equations(scale):
    x = torch.randn(3, 7, 4, 5, dtype=torch.float64)
    x[0, 2] = 0
    x[1, 3] = 2 * x[1, 4]
    x[2, 5] = -x[2, 6]
    x[2, :4] = 0
    ours, zeros = cosine_distances(x * scale)
    expected = [oracle(image.flatten(1).tolist()) for image in x]
    assert ours.tolist() == pytest.approx(expected, rel=1e-12)
    assert zeros.tolist() == pytest.approx([1 / 7, 0, 4 / 7])


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('last', [True, False])
def test_narrow_maps_are_compared_in_float64_whatever_their_layout(dtype, last, monkeypatch):
    x = (torch.randn(5, 6, 7, 8) * torch.logspace(-15, 15, 6).view(6, 1, 1)).to(dtype)
    x[1, 2:4] = 0
    expected = [oracle(image.flatten(1).double().tolist()) for image in x]
    if last:
        x = x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    whole, zeros = cosine_distances(x)
    assert whole.tolist() == pytest.approx(expected, rel=1e-12)
    assert zeros.tolist() == pytest.approx([0, 1 / 3, 0, 0, 0])
    monkeypatch.setattr(module_of_distances, 'CHUNK', 2 * x[0].numel())
    assert torch.equal(cosine_distances(x)[0], whole)


def test_no_float64_copy_of_a_whole_batch(monkeypatch):
    """One copy of every value, a chunk at a time."""
    sizes = []
    double = torch.Tensor.double

    def counted(self):
        sizes.append(self.numel())
        return double(self)

    monkeypatch.setattr(torch.Tensor, 'double', counted)
    cosine_distances(torch.randn(64, 16, 40, 40))
    assert max(sizes) <= module_of_distances.CHUNK
    assert sum(n for n in sizes if n > 64) == 64 * 16 * 1600


def test_limits():
    same = torch.rand(1, 1, 3, 3).expand(1, 6, 3, 3)
    assert cosine_distances(same)[0].item() == pytest.approx(0, abs=1e-15)
    opposite = torch.cat([same, -same], 1)
    assert cosine_distances(opposite)[0].item() == pytest.approx(0.5)
    orthogonal = torch.eye(9).view(1, 9, 3, 3)
    assert cosine_distances(orthogonal)[0].item() == pytest.approx(0.5 * 8 / 9)


def test_positive_gates_do_not_change_it_and_signs_do():
    x = torch.rand(1, 16, 5, 5)
    before = cosine_distances(x)[0].item()
    positive = cosine_distances(x * torch.rand(1, 16, 1, 1).add(0.1))[0].item()
    signed = cosine_distances(x * torch.randn(1, 16, 1, 1))[0].item()
    assert positive == pytest.approx(before)
    assert signed > before + 0.1


@pytest.mark.parametrize('place', ['expansion', 'gated', 'block'])
@pytest.mark.parametrize('linear_pw_conv', [True, False])
def test_blocks_of_selnext(place, linear_pw_conv):
    model = selnext(linear_pw_conv=linear_pw_conv)
    images = torch.randn(5, 3, 64, 64)
    results = feature_distance(model, images.split(2), place)
    assert [b.block for b in results] == [
        f'stages.{s}' for s in ('0.0', '1.0', '2.0', '2.1', '3.0')
    ]
    block = model.stages[0][0]
    x = model.downsample_layers[0](images)
    if place == 'block':
        features = block(x)
    else:
        y = block.depthwise_conv(x)
        y = y.permute(0, 2, 3, 1) if linear_pw_conv else y
        y = block.act(block.pointwise_conv1(y))
        y = block.attention(y) if place == 'gated' else y
        features = y.permute(0, 3, 1, 2) if linear_pw_conv else y
    values = [oracle(f.flatten(1).double().tolist()) for f in features]
    assert results[0].mean == pytest.approx(sum(values) / 5, rel=1e-5)
    assert results[0].std == pytest.approx(torch.tensor(values).std(correction=0).item(), rel=1e-3)
    assert results[0].channels == features.shape[1]
    assert all(b.attention for b in results)


def test_mobilenet_counts_the_blocks_with_an_expansion():
    """Fig. 2: blocks 2 to 4 and 9 to 13 have the attention."""
    model = AttentionMobileNetV3(width_mult=0.25).eval()
    results = feature_distance(model, [torch.randn(2, 3, 64, 64)])
    assert len(results) == 14
    assert [b.index for b in results if b.attention] == [2, 3, 4, 9, 10, 11, 12, 13]


@pytest.mark.parametrize(
    ('cfg', 'count'),
    [
        (dict(type='mmpretrain.ConvNeXt', arch=TINY), 5),
        (dict(type='mmpretrain.MobileNetV3', arch='large'), 14),
    ],
)
def test_mmpretrains_models_are_known(cfg, count):
    pytest.importorskip('mmpretrain.models')
    model = MODELS.build(cfg)
    model.eval()  # returns None
    assert len(feature_distance(model, [torch.randn(1, 3, 64, 64)])) == count


@pytest.mark.parametrize(
    ('cfg', 'package', 'count', 'expanded'),
    [
        (dict(type='PATNet', arch='t0'), 'selnext_mm', 13, ('stages.0.0.act', 64)),
        (dict(type='FasterNet', arch='t0'), 'timm', 13, ('stages.0.blocks.0.mlp.2', 80)),
        (dict(type='mmpretrain.MobileNetV2'), 'mmpretrain', 16, ('layer2.0.conv.0', 96)),
    ],
)
def test_expansions_of_the_other_families(cfg, package, count, expanded):
    pytest.importorskip(package)
    if package == 'mmpretrain':
        pytest.importorskip('mmpretrain.models')
    model = MODELS.build(cfg)
    model.eval()  # mmpretrain's returns None
    results = feature_distance(model, images := [torch.randn(2, 3, 64, 64)])
    assert len(results) == count
    name, channels = expanded
    seen = []
    model.get_submodule(name).register_forward_hook(lambda _, args, out: seen.append(out))
    model(images[0])
    values = [oracle(f.flatten(1).double().tolist()) for f in seen[0]]
    assert results[0].mean == pytest.approx(sum(values) / 2, rel=1e-5)
    assert results[0].channels == channels == seen[0].shape[1]


def test_a_resnet_has_only_block_outputs():
    pytest.importorskip('mmdet')
    for attention_cfg in (dict(type='NAModule'), None):
        model = MODELS.build(dict(type='NAResNet', depth=18, attention_cfg=attention_cfg)).eval()
        images = torch.randn(2, 3, 64, 64)
        results = feature_distance(model, [images], 'block')
        assert [b.channels for b in results] == [64, 64, 128, 128, 256, 256, 512, 512]
        assert all(b.attention == bool(attention_cfg) for b in results)
        x = model.maxpool(model.relu(model.norm1(model.conv1(images))))
        values = [oracle(f.flatten(1).double().tolist()) for f in model.layer1[0](x)]
        assert results[0].mean == pytest.approx(sum(values) / 2, rel=1e-5)
        with pytest.raises(UserError, match="at 'block' also BasicBlock"):
            feature_distance(model, [images])


def test_no_hook_stays_behind():
    model = selnext()

    def fail():
        yield torch.randn(1, 3, 64, 64)
        raise RuntimeError('stop')

    for function in (feature_distance, gate_scales):
        with pytest.raises(RuntimeError, match='stop'):
            function(model, fail())
    hooks = [m._forward_hooks or m._forward_pre_hooks for m in model.modules()]
    assert not any(hooks)


def test_what_cannot_be_measured_is_told():
    with pytest.raises(UserError, match='no blocks of a known kind'):
        probes(torch.nn.Conv2d(3, 3, 1), 'block')
    with pytest.raises(UserError, match='expected one of expansion'):
        probes(selnext(), 'stem')
    with pytest.raises(UserError, match='no images'):
        feature_distance(selnext(), [])
    with pytest.raises(UserError, match='no images'):
        gate_scales(selnext(), [])
    with pytest.raises(UserError, match='no channel attention'):
        gate_scales(selnext(attention_cfg=None), [])


def test_scales_are_those_of_the_equations():
    model = selnext()
    images = torch.randn(7, 3, 64, 64)
    scales = gate_scales(model, images.split(3))[0]
    block = model.stages[0][0]
    inputs = []
    block.attention.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    model(images)
    u, attention = inputs[0], block.attention
    s = attention.fc2(torch.relu(attention.fc1(u.mean((1, 2)))))
    v = attention.norm(s)
    for ours, theirs in (
        (scales.before, s.mean(0)),
        (scales.before_std, s.std(0, correction=0)),
        (scales.after, v.mean(0)),
        (scales.after_std, v.std(0, correction=0)),
    ):
        torch.testing.assert_close(ours.float(), theirs, rtol=1e-4, atol=1e-5)
    assert (scales.kind, scales.module) == ('SELN', 'stages.0.0.attention')
    assert scales.negative == (scales.after < 0).double().mean()


GATED = {
    'NA': dict(type='NAResNet', depth=18),
    'NA with embedding': dict(
        type='NAResNet', depth=18, attention_cfg=dict(type='NAModule', embedding=True)
    ),
    'CBAM': dict(
        type='NAResNet', depth=18, attention_cfg=dict(type='CBAM', data_format='channels_first')
    ),
    'MeanStdGate': dict(type='PATNet', arch=PATNET),
    'SqueezeExciteGate': dict(
        type='PATNet',
        arch=PATNET,
        mixer_cfg=dict(type='PartialChannelAttention', gate_cfg=dict(type='SqueezeExciteGate')),
    ),
    "mmpretrain's SE": dict(type='mmpretrain.SEResNet', depth=50),
    "mmpretrain's MobileNetV3": dict(type='mmpretrain.MobileNetV3', arch='small'),
}


@pytest.mark.parametrize('name', GATED)
def test_scales_are_what_multiplies_the_channels(name):
    """Every gate's output over its input, position by position, is the scale of the channel."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmpretrain.models')
    model = MODELS.build(dict(GATED[name]))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1).requires_grad_(False)
    model.double().eval()  # mmpretrain's returns None
    images = torch.randn(3, 3, 64, 64, dtype=torch.float64)
    scales = {s.module: s for s in gate_scales(model, images.split(2))}
    assert scales
    seen = {}
    for path in scales:
        model.get_submodule(path).register_forward_hook(
            lambda _, args, out, path=path: seen.update({path: (args[0].clone(), out.clone())})
        )
    model(images)
    for path, s in scales.items():
        x, y = seen[path]
        gate = model.get_submodule(path)
        if name == 'CBAM':
            y = y / gate.position_gate(x * gate.gate(gate.squeeze(x))[..., None, None])[:, None]
        usable = x.abs() > 1e-3 * x.abs().max()
        ratio = torch.where(usable, y / x, torch.nan).flatten(2).nanmean(2)
        known = ~ratio.isnan().any(0)
        assert known.any()
        torch.testing.assert_close(s.after[known], ratio.mean(0)[known], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(
            s.after_std[known], ratio.std(0, correction=0)[known], rtol=1e-6, atol=1e-9
        )


def test_before_is_what_norm_and_sigmoid_get():
    pytest.importorskip('mmdet')
    pytest.importorskip('mmpretrain.models')
    image = torch.randn(1, 3, 64, 64)
    model = MODELS.build(dict(type='NAResNet', depth=18)).eval()
    inputs = []
    model.layer1[0].na.register_forward_pre_hook(lambda _, args: inputs.append(args[0][0]))
    before = gate_scales(model, [image])[0].before
    assert torch.allclose(before.float(), context(inputs[0], 'channel_mean'), atol=1e-5)

    model = MODELS.build(dict(type='mmpretrain.SEResNet', depth=50))
    model.eval()
    for s in gate_scales(model, [image]):
        torch.testing.assert_close(s.before.sigmoid(), s.after, rtol=1e-5, atol=1e-6)

    model = MODELS.build(dict(type='PATNet', arch=PATNET)).eval()
    for s in gate_scales(model, [image]):
        norm = model.get_submodule(s.module).norm
        z = norm(s.before[None, :, None, None].float())
        after = torch.nn.functional.hardsigmoid(z).flatten()
        torch.testing.assert_close(after, s.after.float(), rtol=1e-4, atol=1e-5)


def test_a_model_without_scales_says_which_have_some():
    pytest.importorskip('mmdet')
    cfg = dict(type='mmdet.ResNet', depth=50)
    cfg['plugins'] = [dict(cfg=dict(type='ContextBlock', ratio=1 / 16), position='after_conv3')]
    with pytest.raises(UserError, match=r'ResNet has no channel attention.*selnext_.*GC \(gc_'):
        gate_scales(MODELS.build(cfg), [])


def test_na_resnet_50_is_measured():
    pytest.importorskip('mmdet')
    model = MODELS.build(dict(type='NAResNet', depth=50, base_channels=8)).eval()
    results = feature_distance(model, [torch.randn(1, 3, 64, 64)], 'block')
    assert len(results) == 16
    assert all(block.attention for block in results)


def test_na_mobilenet_has_attention_in_every_block():
    pytest.importorskip('mmpretrain.models')
    images = torch.randn(1, 3, 64, 64)
    for attention_cfg in (dict(type='NAModule'), None):
        model = MODELS.build(dict(type='NAMobileNetV2', attention_cfg=attention_cfg)).eval()
        for place in ('expansion', 'block'):
            results = feature_distance(model, [images], place)
            assert {b.attention for b in results} == {attention_cfg is not None}
