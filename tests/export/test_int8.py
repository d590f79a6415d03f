"""int8 files: what is quantised and what stays in float, and that bad ones are not kept."""

import logging
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from selnext_mm.cli import export as command
from selnext_mm.config.build import quiet
from selnext_mm.errors import UserError
from selnext_mm.export import int8, writers
from selnext_mm.export.int8_models import labels_of
from selnext_mm.inference import Predictor
from selnext_mm.runtime import Classifier

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')
NAMES = ('ant', 'bee', 'cat', 'dog')


def write_small(path):
    """conv -> a gate's linear layer -> linear layer, with the scopes that the exporter writes."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    # Rows of very different sizes: one scale for all would lose the small ones.
    shapes = {'w': (8, 3, 3, 3), 'g': (8, 8), 'f': (8, 4)}
    weights = {k: rng.normal(size=s).astype(np.float32) for k, s in shapes.items()}
    weights['w'] *= np.logspace(-2, 1, 8, dtype=np.float32).reshape(8, 1, 1, 1)
    nodes = [
        helper.make_node('Conv', ['images', 'w'], ['c'], 'conv', pads=[1] * 4),
        helper.make_node('GlobalAveragePool', ['c'], ['p'], 'pool'),
        helper.make_node('Flatten', ['p'], ['v'], 'flat'),
        helper.make_node('Gemm', ['v', 'g'], ['h'], 'gate_linear'),
        helper.make_node('MatMul', ['h', 'f'], ['logits'], 'linear'),
    ]
    for node, scope in zip(nodes, ('conv', '', '', 'block.gate', 'fc'), strict=True):
        node.metadata_props.add(key=int8.SCOPES, value=str(['', scope, 'x']))
    graph = helper.make_graph(
        nodes,
        'small',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, ['n', 3, 'h', 'w'])],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, ['n', 4])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    helper.set_model_props(model, dict(classes='kept'))
    onnx.save(model, path)
    return path


def test_layers_are_quantised_per_channel_and_the_gate_is_not(tmp_path):
    import onnxruntime

    source, path = write_small(tmp_path / 'f.onnx'), tmp_path / 'q.onnx'
    rng = np.random.default_rng(1)
    feeds = [dict(images=rng.normal(size=(1, 3, 9, 7)).astype(np.float32)) for _ in range(8)]
    with quiet():
        assert int8.quantize(source, path, feeds, ['block.gate']) == 2
        assert logging.root.manager.disable == logging.INFO
    model = onnx.load(path)
    made_by = {name: node for node in model.graph.node for name in node.output}
    arrays = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer}
    layers = {n.name: n for n in model.graph.node if n.op_type in int8.LAYERS}
    assert layers['gate_linear'].input[1] == 'g', 'the weights of the gate are the float ones'
    for name, channels in (('conv', 8), ('linear', 4)):
        weight = made_by[layers[name].input[1]]
        assert weight.op_type == 'DequantizeLinear'
        assert arrays[weight.input[0]].dtype == np.int8
        assert arrays[weight.input[1]].shape == (channels,), 'a scale per output channel'
        assert made_by[layers[name].input[0]].op_type == 'DequantizeLinear'
    assert {p.key: p.value for p in model.metadata_props} == dict(classes='kept', precision='int8')
    a, b = (
        np.concatenate([onnxruntime.InferenceSession(p).run(None, f)[0] for f in feeds])
        for p in (source, path)
    )
    assert 0 < np.abs(a - b).max() < 0.05 * np.abs(a).max()
    with pytest.raises(UserError, match='no layer that could compute in int8'):
        int8.quantize(source, path, feeds, ['block.gate', 'conv', 'fc'])


def test_a_processor_without_vnni_computes_what_the_file_says(tmp_path):
    """There two products of 8 bits overflow the 16 bits that they are added in."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    weight = np.full((64, 4), 1, dtype=np.float32)
    graph = helper.make_graph(
        [helper.make_node('MatMul', ['images', 'w'], ['logits'], 'linear')],
        'wide',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, ['n', 64])],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, ['n', 4])],
        [numpy_helper.from_array(weight, 'w')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    onnx.save(model, tmp_path / 'f.onnx')
    feeds = [dict(images=np.full((1, 64), sign, dtype=np.float32)) for sign in (-1, 1)]
    with quiet():
        int8.quantize(tmp_path / 'f.onnx', tmp_path / 'q.onnx', feeds, [])
    arrays = [numpy_helper.to_array(i) for i in onnx.load(tmp_path / 'q.onnx').graph.initializer]
    (weights,) = (a for a in arrays if a.shape == weight.shape)
    assert np.abs(weights.astype(int)).max() == 64, 'all of 7 bits'
    session = onnxruntime.InferenceSession(tmp_path / 'q.onnx')
    for feed in feeds:
        assert session.run(None, feed)[0] == pytest.approx(feed['images'].sum(), rel=0.02)


def test_gates_norms_and_last_layers_stay_in_float():
    from selnext_mm.models import SELNeXt

    head = torch.nn.ModuleDict(dict(fc_cls=torch.nn.Linear(4, 2), shared=torch.nn.Linear(4, 4)))
    arch = dict(depths=[1, 1, 1, 1], channels=[8, 8, 8, 8])
    model = torch.nn.ModuleDict(dict(backbone=SELNeXt(arch=arch), box=head))
    found = int8.float_modules(model)
    assert {'backbone.stages.0.0.attention', 'backbone.norm3', 'box.fc_cls'} <= set(found)
    rest = {n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)} - set(found)
    inside = tuple(f'{name}.' for name in found)
    rest = {name for name in rest if not name.startswith(inside)}
    pointwise = {f'backbone.stages.{i}.0.pointwise_conv{k}' for i in range(4) for k in (1, 2)}
    assert rest == {'box.shared', *pointwise}


@pytest.fixture(scope='module')
def measured(classifier, tmp_path_factory):
    """(images to calibrate on, images in folders named by what PyTorch says they are)."""
    root = tmp_path_factory.mktemp('measured')
    predictor = Predictor(classifier.config, classifier.checkpoint, device='cpu', top_k=1)
    rng = np.random.default_rng(0)
    (root / 'calibrate').mkdir()
    for i in range(12):
        noise = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) // (1 + i % 3)
        picture = Image.fromarray(noise).resize((64, 64))
        (best,) = predictor.find(np.asarray(picture)[..., ::-1])
        folder = root / 'check' / best['category'] if i > 3 else root / 'calibrate'
        folder.mkdir(parents=True, exist_ok=True)
        picture.save(folder / f'{i}.png')
    return root


def call(classifier, out, measured, *more):
    target = {'.onnx': 'onnx', '.xml': 'openvino'}[out.suffix]
    line = [classifier.config, classifier.checkpoint, '--to', target, '--out', out, '--int8']
    line += ['--calibrate', measured / 'calibrate', '--check-images', measured / 'check']
    return command.main(list(map(str, [*line, *more])))


def test_other_targets_have_no_int8(classifier, measured, tmp_path):
    line = [classifier.config, classifier.checkpoint, '--to', 'torch-export', '--int8']
    line += ['--out', tmp_path / 'c.pt2', '--calibrate', measured, '--check-images', measured]
    with pytest.raises(UserError, match='--int8 needs --to onnx or --to openvino, not --to torch'):
        command.main(list(map(str, line)))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['c.onnx', 'c.xml'])
def test_a_classifier_is_kept_where_little_is_lost(
    name, classifier, measured, tmp_path, capsys, monkeypatch
):
    if name == 'c.xml':
        pytest.importorskip('openvino', reason="needs pip install 'selnext_mm[openvino]'")
    kept, real = tmp_path / 'float.onnx', writers.write_onnx

    def once(graph, path, *rest):
        if not kept.exists():
            real(graph, kept, *rest)
        shutil.copy(kept, path)

    monkeypatch.setattr(writers, 'write_onnx', once)
    out = tmp_path / 'new' / name
    assert call(classifier, out, measured, '--max-loss', '99') == 0
    text = capsys.readouterr().out
    assert 'calibrated on 4 images: ' in text
    assert 'top-1 on 8 images: PyTorch 100.00, int8 ' in text
    model = Classifier(out)
    assert model.metadata['precision'] == 'int8'
    predictor = Predictor(classifier.config, classifier.checkpoint, device='cpu', top_k=4)
    paths = sorted((measured / 'check').rglob('*.png'))
    for a, b in zip(predictor(paths), Classifier(out, top_k=4)(paths), strict=True):
        scores = [{c['category']: c['score'] for c in r['classes']} for r in (a, b)]
        assert scores[0] == pytest.approx(scores[1], abs=0.1)

    def turned(source, path, feeds, modules):
        """A file that takes the least likely class."""
        content = onnx.load(source)
        for node in content.graph.node:
            node.output[:] = ['former' if name == 'logits' else name for name in node.output]
        content.graph.node.append(onnx.helper.make_node('Neg', ['former'], ['logits']))
        onnx.save(content, path)
        return 1

    monkeypatch.setattr(int8, 'quantize', turned)
    out = tmp_path / 'other' / name
    assert call(classifier, out, measured) == 1
    assert '100.00 lost (at most 0.5)\nmore is lost than --max-loss' in capsys.readouterr().out
    assert not list(out.parent.iterdir())


def test_what_is_measured_on_is_not_calibrated_on(classifier, measured, tmp_path, monkeypatch):
    both = tmp_path / 'both'
    shutil.copytree(measured / 'check', both / 'calibrate')
    shutil.copytree(measured / 'check', both / 'check')
    monkeypatch.setattr(writers, 'write_onnx', lambda graph, path, *rest: shutil.copy(
        write_like_a_classifier(tmp_path), path))  # fmt: skip
    with pytest.raises(UserError, match='8 images are in --calibrate and in --check-images'):
        call(classifier, tmp_path / 'c.onnx', both)


def write_like_a_classifier(folder):
    """The small file with the metadata of a classifier."""
    path = write_small(folder / 'like.onnx')
    model = onnx.load(path)
    meta = dict(part='classifier', pipeline='[]', classes='["ant"]', channels='RGB')
    meta |= dict(activation='softmax', mean='[0]', std='[1]', normalized_inside='false')
    onnx.helper.set_model_props(model, meta)
    onnx.save(model, path)
    return path


def test_folders_are_named_as_classes_or_in_their_order():
    assert labels_of(['bee/1.png', 'ant/x/2.png'], NAMES) == ['bee', 'ant']
    names = [f'n0{i}/1.png' for i in (3, 1, 2, 4)]
    assert labels_of(names, NAMES) == ['cat', 'ant', 'bee', 'dog']
    for wrong in (['owl/1.png'], ['1.png'], ['ant/1.png', '1.png']):
        with pytest.raises(UserError, match='expected a folder per class, named ant, bee'):
            labels_of(wrong, NAMES)
