"""Exported files against PyTorch, for every backbone; and the command around it."""

import copy
import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from selnext_mm.checkpoints.files import read_metadata
from selnext_mm.cli import export as command
from selnext_mm.errors import UserError
from selnext_mm.export import writers
from selnext_mm.export.check import compare
from selnext_mm.export.graphs import Graph, build_graph
from selnext_mm.export.merge import merge
from selnext_mm.models.lazy import BACKBONES, load
from selnext_mm.runtime.sessions import open_session
from tests.models.backbones.test_contract import SMALL, builder, settle_batch_norms
from tests.small_models import CONFIGS, TINY, save_model

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

# One with shortcuts and a norm in its gate, one of another package: the others take as long.
QUICKEST = ('SELNeXt', 'NAResNet')
SHAPES = ((1, 96, 128), (3, 64, 160), (2, 101, 133), (1, 64, 64))


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.data_preprocessor = nn.Module()


def small(name):
    return Detector(settle_batch_norms(builder(name)()).eval())


@pytest.fixture
def shallow(monkeypatch):
    """Networks of other packages with fewer blocks: an export takes seconds for each."""
    for name in BACKBONES:
        if find_spec(BACKBONES[name][1]):
            backbone = load(name)
            monkeypatch.setattr(backbone, 'arch_settings', fewer_blocks(backbone.arch_settings))


def fewer_blocks(settings):
    """One block per stage, two in one of them, which has a shortcut then."""
    if isinstance(settings, dict):  # ResNet: depth -> (block, numbers)
        return {depth: (block, (2, 1, 1, 1)) for depth, (block, _) in settings.items()}
    # MobileNetV2: rows of (expansion, channels, number, stride)
    return [[*row[:2], 2 if i == 1 else 1, row[3]] for i, row in enumerate(settings)]


@pytest.mark.parametrize(
    ('name', 'target'),
    [
        *(
            pytest.param(name, 'onnx', marks=() if name in QUICKEST else pytest.mark.slow)
            for name in sorted(SMALL)
        ),
        pytest.param('PATNet', 'torch-export', marks=pytest.mark.slow),
        ('SELNeXt', 'openvino'),
    ],
)
def test_every_backbone_with_open_batch_and_size(name, target, tmp_path, shallow):
    model = small(name)
    reference = build_graph(copy.deepcopy(model), 'backbone')
    merge(model, target)
    graph = build_graph(model, 'backbone')
    assert graph.outputs == ('feat0', 'feat1', 'feat2', 'feat3')
    path = tmp_path / f'm{writers.SUFFIXES[target]}'
    if target == 'openvino':
        pytest.importorskip('openvino', reason="needs pip install 'selnext_mm[openvino]'")
    write = getattr(writers, f'write_{target.replace("-", "_")}')
    run = write(graph, path, {'note': 'kept'})
    for difference in compare(reference, run, SHAPES):
        assert difference.scale > 0.1, 'outputs near zero show nothing'
        assert difference.relative < 1e-4, difference
    if target == 'onnx':
        content = onnx.load(path)
        assert {p.key: p.value for p in content.metadata_props}['note'] == 'kept'
        sizes = content.graph.input[0].type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in sizes] == ['batch', 3, 'height', 'width']
        norms = [n for n in content.graph.node if n.op_type == 'BatchNormalization']
        # timm's FasterNet has no deployed form; PATNet keeps the norm inside its gate.
        kept = name in ('PATNet', 'FasterNet')
        assert kept or not norms, 'batch norms are part of the convolutions'
    elif target == 'openvino':
        assert open_session(path).metadata == {'note': 'kept'}
    else:
        kept = {'metadata.json': ''}
        torch.export.load(path, extra_files=kept)
        assert json.loads(kept['metadata.json']) == {'note': 'kept'}


VARIANTS = {
    'linear': {},
    'convolutions': dict(linear_pw_conv=False),
    'ConvNeXt': dict(attention_cfg=None, block_norm_cfg=dict(type='LN2d', eps=1e-6)),
    'fused': dict(impl='fused'),
    'no layer scale': dict(layer_scale_init_value=0),
}


def selnext(**options):
    model = MODELS.build(dict(SMALL['SELNeXt'], type='SELNeXt', **options))
    model.init_weights()
    for name, value in model.named_parameters():
        if name.endswith('gamma'):
            nn.init.uniform_(value, -1, 1)
        elif name.endswith('bias'):
            nn.init.normal_(value)
    return Detector(model.eval())


def computing(path):
    """The number of operators, without those for shapes and the means, which are in two steps."""
    shapes = ('Shape', 'Reshape', 'Unsqueeze', 'Squeeze', 'Concat', 'Gather', 'Slice', 'Cast')
    others = (*shapes, 'ReduceMean')
    return sum(node.op_type not in others for node in onnx.load(path).graph.node)


class Operations(TorchDispatchMode):
    """Counts the operations that PyTorch carries out."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(graph):
    with torch.no_grad(), Operations() as mode:
        graph(torch.randn(1, 3, 64, 64))
    return mode.count


@pytest.mark.slow
@pytest.mark.parametrize('variant', VARIANTS)
def test_layer_scales_are_merged_into_fewer_operators(variant, tmp_path):
    model = selnext(**VARIANTS[variant])
    merged, rewritten = copy.deepcopy(model), copy.deepcopy(model)
    count = 0 if variant == 'no layer scale' else 5
    words = [f'{count} layer scales merged'] if count else []
    assert merge(merged, 'torch-export') == merge(rewritten) == words
    assert merge(merged, 'torch-export') == [], 'nothing is merged twice'
    graphs = [build_graph(m, 'backbone') for m in (model, merged, rewritten)]
    written = graphs if variant == 'linear' else graphs[2:]  # an export takes seconds
    files = [tmp_path / f'{i}.onnx' for i in range(len(written))]
    for graph, file in zip(written, files, strict=True):
        run = writers.write_onnx(graph, file, {})
        for difference in compare(graphs[0], run, SHAPES):
            assert difference.scale > 0.1, 'outputs near zero show nothing'
            assert difference.relative < 1e-5, difference
    if variant == 'linear':
        plain, fewer, _ = (len(onnx.load(file).graph.node) for file in files)
    else:
        plain, fewer = map(operations, graphs[:2])
    assert plain - fewer >= count


@pytest.mark.parametrize('linear', [True, False])
def test_a_merged_layer_scale_is_rounded_once(linear):
    backbone = selnext(linear_pw_conv=linear).backbone
    block = backbone.stages[0][0]
    layer, gamma = block.pointwise_conv2, block.gamma.detach().numpy()
    weight, bias = (p.detach().numpy().astype('f8') for p in (layer.weight, layer.bias))
    gamma = gamma.astype('f8')
    assert backbone.fold_layer_scale() == 5
    wanted = np.einsum('o,o...->o...', gamma, weight).astype('f4')
    np.testing.assert_array_equal(layer.weight.detach().numpy(), wanted)
    np.testing.assert_array_equal(layer.bias.detach().numpy(), (gamma * bias).astype('f4'))
    assert block.gamma is None


def test_a_layer_that_somebody_changed_keeps_its_layer_scale():
    model = selnext()
    first = model.backbone.stages[0][0]
    first.pointwise_conv2 = nn.Sequential(first.pointwise_conv2, nn.Tanh())
    reference = build_graph(copy.deepcopy(model), 'backbone')
    assert merge(model) == ['4 layer scales merged']
    assert first.gamma is not None
    (difference,) = compare(reference, build_graph(model, 'backbone'), ((1, 64, 64),))
    assert difference.relative < 1e-6


def call(model, out, target, *more):
    return command.main(
        [str(model.config), str(model.checkpoint), '--to', target, '--out', str(out), *more]
    )


CHECK = ('--check', '1x64x96', '2x100x75')


@pytest.fixture(scope='module')
def selnext_classifier(tmp_path_factory):
    text = f"""
_base_ = '{CONFIGS}/cls/selnext_t_in1k.py'
model = dict(backbone=dict(arch={TINY}), head=dict(in_channels=40, num_classes=4))
"""
    names = ('ant', 'bee', 'cat', 'dog')
    return save_model(tmp_path_factory.mktemp('selnext_classifier'), text, names)


@pytest.mark.parametrize(
    ('name', 'merged'),
    [
        pytest.param('classifier', 'backbone deployed', marks=pytest.mark.slow),
        ('selnext_classifier', '4 layer scales merged'),
    ],
)
def test_a_classifier_that_normalises_inside(name, merged, request, tmp_path, capsys):
    classifier = request.getfixturevalue(name)
    out, plain = tmp_path / 'c.onnx', tmp_path / 'plain.onnx'
    assert call(classifier, out, 'onnx', '--normalize', *CHECK) == 0
    assert f'({merged}): logits' in capsys.readouterr().out
    assert call(classifier, plain, 'onnx', '--no-deploy', *CHECK) == 0
    assert '(as trained): logits' in capsys.readouterr().out
    assert computing(out) < computing(plain)
    session = onnxruntime.InferenceSession(out)
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64)).astype(np.float32)
    (logits,) = session.run(None, {'images': picture})
    # mmpretrain's own way: BGR in, its preprocessor turns and normalises.
    model = classifier.model
    data = model.data_preprocessor(dict(inputs=torch.from_numpy(picture).flip(1)))
    with torch.no_grad():
        wanted = model(data['inputs'], mode='tensor')
    np.testing.assert_allclose(logits, wanted.numpy(), atol=1e-4)
    assert np.ptp(logits) > 1e-3, 'equal logits show nothing'
    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta['classes']) == ['ant', 'bee', 'cat', 'dog']
    assert (meta['channels'], meta['normalized_inside']) == ('RGB', 'true')
    assert json.loads(meta['mean']) == pytest.approx([123.675, 116.28, 103.53])


@pytest.mark.parametrize('target', [pytest.param('torch-export', marks=pytest.mark.slow), 'onnx'])
def test_a_detector_gives_the_maps_of_its_neck(target, detector, tmp_path, capsys):
    out = tmp_path / f'd{writers.SUFFIXES[target]}'
    assert call(detector, out, target, '--part', 'backbone-neck', *CHECK) == 0
    text = capsys.readouterr().out
    assert '(4 layer scales merged): feat0, feat1, feat2, feat3, feat4' in text
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = detector.model.extract_feat(x)
    if target == 'onnx':
        got = onnxruntime.InferenceSession(out).run(None, {'images': x.numpy()})
        got = map(torch.from_numpy, got)
    else:
        got = torch.export.load(out).module()(x)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_names_that_nobody_gave_are_asked_for_and_taken(classifier, tmp_path):
    nameless = tmp_path / 'nameless.pth'
    torch.save(dict(state_dict=classifier.model.state_dict()), nameless)
    config = tmp_path / 'config.py'
    text = "test_dataloader = dict(dataset=dict(_delete_=True, type='CustomDataset'))\n"
    config.write_text(f"_base_ = '{classifier.config}'\n{text}")
    out = tmp_path / 'c.safetensors'
    rest = ('--to', 'safetensors', '--out', str(out))
    with pytest.raises(UserError, match='give them with --classes'):
        command.main([str(config), str(nameless), *rest])
    assert not out.exists()
    assert command.main([str(config), str(nameless), *rest, '--classes', *'wxyz']) == 0
    assert json.loads(read_metadata(out)['classes']) == ['w', 'x', 'y', 'z']


def test_safetensors_hold_all_weights_and_the_names(detector, pictures, tmp_path):
    from selnext_mm.inference import predict

    out = tmp_path / 'w.safetensors'
    assert call(detector, out, 'safetensors') == 0
    ours = predict(detector.config, out, pictures / 'a.jpg', device='cpu')
    assert ours == predict(detector.config, detector.checkpoint, pictures / 'a.jpg', device='cpu')


def test_a_published_folder_is_config_and_checkpoint(tmp_path):
    pytest.importorskip('mmdet')
    folder = CONFIGS.parent / 'weights' / 'bccd_selnext_yocto'
    out = tmp_path / 'w.safetensors'
    assert command.main([str(folder), '--out', str(out)]) == 0
    assert json.loads(read_metadata(out)['classes']) == ['Platelets', 'RBC', 'WBC']


def test_above_the_tolerance_nothing_is_left(classifier, tmp_path, monkeypatch, capsys):
    def rounded(graph, path, *rest):
        path.write_text('some file')
        return lambda images: [output * (1 + 1e-6) for output in graph(images)]

    monkeypatch.setattr(writers, 'write_torch_export', rounded)
    out = tmp_path / 'new' / 'c.pt2'
    assert call(classifier, out, 'torch-export', '--tolerance', '1e-30', *CHECK) == 1
    assert 'above --tolerance 1e-30; nothing was written' in capsys.readouterr().out
    assert list(out.parent.iterdir()) == []


def test_a_failing_export_leaves_the_old_file(classifier, tmp_path, monkeypatch):
    out = tmp_path / 'c.onnx'
    out.write_text('old')

    def fail(graph, path, *rest):
        path.write_text('half')
        raise UserError('no')

    monkeypatch.setattr(writers, 'write_onnx', fail)
    with pytest.raises(UserError, match='exists; --force'):
        call(classifier, out, 'onnx')
    with pytest.raises(UserError, match='no'):
        call(classifier, out, 'onnx', '--force')
    assert [p.name for p in tmp_path.iterdir()] == ['c.onnx']
    assert out.read_text() == 'old'


def test_not_a_number_is_an_infinite_error():
    graph = Graph(Detector(nn.Identity()), 'backbone')
    (difference,) = compare(graph, lambda x: [x * float('nan')], ((1, 32, 32),))
    assert difference.error == float('inf')


def test_a_file_that_gives_another_shape_or_does_not_run_is_refused():
    graph = Graph(Detector(nn.Identity()), 'backbone')
    with pytest.raises(UserError, match=r'gives \[\(1, 3, 32, 31\)\] on 1x3x32x32'):
        compare(graph, lambda x: [x[..., 1:]], ((1, 32, 32),))
    with pytest.raises(UserError, match='does not run on 1x3x32x32: ZeroDivisionError'):
        compare(graph, lambda x: [x / (1 // 0)], ((1, 32, 32),))
