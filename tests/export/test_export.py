"""Exported files against PyTorch, for every backbone; and the command around it."""

import copy
import json

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from selnext_mm.cli import export as command
from selnext_mm.errors import UserError
from selnext_mm.export import writers
from selnext_mm.export.check import compare
from selnext_mm.export.graphs import Graph, build_graph, choose_part
from selnext_mm.inference.loading import deploy
from tests.models.backbones.test_contract import SMALL, settle_batch_norms

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')

BACKBONES = {
    **{name: dict(SMALL[name], type=name) for name in SMALL},
    'NAResNet': dict(type='NAResNet', depth=18, base_channels=16),
}
SHAPES = ((1, 96, 128), (3, 64, 160), (2, 101, 133), (1, 64, 64))


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.data_preprocessor = nn.Module()


def small(name):
    if name.startswith('NA'):
        pytest.importorskip('mmdet')
    backbone = MODELS.build(dict(BACKBONES[name]))
    backbone.init_weights()
    if name.startswith('NA'):
        for module in backbone.modules():
            if type(module).__name__ == 'NAModule':
                nn.init.normal_(module.weight)
    return Detector(settle_batch_norms(backbone).eval())


@pytest.mark.parametrize(
    ('name', 'target'),
    [
        *((name, 'onnx') for name in sorted(BACKBONES)),
        ('PATNet', 'torch-export'),
    ],
)
def test_every_backbone_with_open_batch_and_size(name, target, tmp_path):
    model = small(name)
    reference = build_graph(copy.deepcopy(model), 'backbone')
    deploy(model)
    graph = build_graph(model, 'backbone')
    assert graph.outputs == ('feat0', 'feat1', 'feat2', 'feat3')
    path = tmp_path / f'm{writers.SUFFIXES[target]}'
    write = writers.write_onnx if target == 'onnx' else writers.write_torch_export
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
    else:
        kept = {'metadata.json': ''}
        torch.export.load(path, extra_files=kept)
        assert json.loads(kept['metadata.json']) == {'note': 'kept'}


def call(model, out, target, *more):
    return command.main(
        [str(model.config), str(model.checkpoint), '--to', target, '--out', str(out), *more]
    )


CHECK = ('--check', '1x64x96', '2x100x75')


def test_a_classifier_that_normalises_inside(classifier, tmp_path, capsys):
    out = tmp_path / 'c.onnx'
    assert call(classifier, out, 'onnx', '--normalize', *CHECK) == 0
    assert 'deployed (backbone): logits' in capsys.readouterr().out
    session = onnxruntime.InferenceSession(out)
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64)).astype(np.float32)
    (logits,) = session.run(None, {'images': picture})
    # mmpretrain's own way: BGR in, its preprocessor turns and normalises.
    model = classifier.model
    data = model.data_preprocessor(dict(inputs=torch.from_numpy(picture).flip(1)))
    with torch.no_grad():
        wanted = model(data['inputs'], mode='tensor')
    np.testing.assert_allclose(logits, wanted.numpy(), atol=1e-4)
    meta = session.get_modelmeta().custom_metadata_map
    assert json.loads(meta['classes']) == ['ant', 'bee', 'cat', 'dog']
    assert (meta['channels'], meta['normalized_inside']) == ('RGB', 'true')
    assert json.loads(meta['mean']) == pytest.approx([123.675, 116.28, 103.53])


def test_a_detector_gives_the_maps_of_its_neck(detector, tmp_path, capsys):
    out = tmp_path / 'd.pt2'
    assert call(detector, out, 'torch-export', *CHECK) == 0
    text = capsys.readouterr().out
    assert 'feat0, feat1, feat2, feat3, feat4' in text
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        wanted = detector.model.extract_feat(x)
    for a, b in zip(torch.export.load(out).module()(x), wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_safetensors_hold_all_weights_and_the_names(detector, pictures, tmp_path):
    from selnext_mm.inference import predict

    out = tmp_path / 'w.safetensors'
    assert call(detector, out, 'safetensors') == 0
    ours = predict(detector.config, out, pictures / 'a.jpg', device='cpu')
    assert ours == predict(detector.config, detector.checkpoint, pictures / 'a.jpg', device='cpu')


def test_above_the_tolerance_nothing_is_left(classifier, tmp_path, capsys):
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


def test_parts(classifier, detector):
    assert choose_part(classifier.model, None) == 'classifier'
    assert choose_part(detector.model, None) == 'backbone-neck'
    with pytest.raises(UserError, match=r'a whole detector is not supported.*RoIAlign'):
        choose_part(detector.model, 'detector')
    with pytest.raises(UserError, match='this is a detector'):
        choose_part(detector.model, 'classifier')


@pytest.mark.parametrize(
    ('target', 'name', 'more', 'text'),
    [
        ('onnx', 'x.pt2', [], r'x\.pt2: --to onnx writes a file that ends in \.onnx'),
        ('torch-export', 'x.pt2', ['--opset', '18'], '--opset needs --to onnx'),
        ('onnx', 'x.onnx', ['--tolerance', '0'], '--tolerance 0'),
        ('safetensors', 'x.safetensors', ['--part', 'backbone'], '--part has no meaning'),
    ],
)
def test_options_that_cannot_be(target, name, more, text, tmp_path):
    with pytest.raises(UserError, match=text):
        command.main(['c.py', 'c.pth', '--to', target, '--out', str(tmp_path / name), *more])
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(writers.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"onnxruntime: pip install 'selnext_mm\[export\]'"):
        writers.require('onnx')
