"""benchmarks/deploy.py with small models on small images: all forms, ratios, what is left out."""

import importlib.util
import json
from typing import ClassVar

import _forms
import deploy
import pytest
import torch
from _file_process import FileProcess, Task, open_call

from selnext_mm.__main__ import call
from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError
from selnext_mm.export.detection.graph import INPUTS
from tests.export.small_detectors import config_text, enliven

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')
for _name in ('onnx', 'onnxscript', 'onnxruntime', 'openvino'):
    pytest.importorskip(_name, reason=f"pip install 'selnext_mm[export,openvino]' for {_name}")

ARCH = dict(depths=[1, 1, 1, 1], channels=[16, 24, 32, 40])
LEAF = (
    '_base_ = {base!r}\nmodel = dict(backbone=dict(arch=dict(_delete_=True, **{arch})), {more})\n'
)
FAST = ('--repeats', '2', '--warmup', '0', '--settle', '0', '--threads', '1', '--calibration', '1')


@pytest.fixture
def classifiers(tmp_path):
    """Configs of a small SELNeXt and a small ConvNeXt."""
    bases = str(find_config('cls/selnext_t_in1k.py')), deploy.parse([]).classifiers[1]
    paths = []
    for name, base in zip(('ours', 'theirs'), bases, strict=True):
        path = tmp_path / f'{name}.py'
        head = 'head=dict(in_channels=40, num_classes=5)'
        path.write_text(LEAF.format(base=base, arch=ARCH, more=head))
        paths.append(str(path))
    return paths


@pytest.fixture
def detector(tmp_path):
    """Config of a small Mask R-CNN."""
    path = tmp_path / 'detector.py'
    path.write_text(config_text('mask_rcnn'))
    return str(path)


@pytest.fixture
def bf16(monkeypatch):
    """A processor with bfloat16; where there is none, torch computes it all the same."""
    monkeypatch.setattr(_forms, 'has_bfloat16_instructions', lambda: True)


@pytest.mark.slow
@pytest.mark.integration
def test_a_classifier_in_all_forms(classifiers, bf16, tmp_path, capsys):
    path = tmp_path / 'r.json'
    options = ['--models', 'classifier', '--size', '64', '96', '--batch', '2', *FAST]
    argv = [*options, '--classifiers', *classifiers, '--json', str(path)]
    assert call(deploy.main, argv) == 0
    result = json.loads(path.read_text())
    assert result['complete'] is True
    (model,) = result['models']
    rows = {(row['backbone'], row['form']): row for row in model['rows']}
    reasons = {(m['backbone'], m['form']): m['reason'] for m in model['left_out']}
    low = {key for key, reason in reasons.items() if 'no bfloat16' in reason}
    assert low <= {(name, 'openvino-bf16') for name in (deploy.OURS, deploy.THEIRS)}
    assert reasons.keys() - low == {(deploy.THEIRS, 'deployed')}
    assert rows.keys() | reasons.keys() == {
        (name, form) for name in (deploy.OURS, deploy.THEIRS) for form in _forms.FORMS
    }
    for (name, form), row in rows.items():
        assert len(row['seconds']) == 2
        eager = rows[deploy.THEIRS, 'eager']
        assert row['to_eager']['ratio'] == pytest.approx(row['median_s'] / eager['median_s'])
        same = rows[deploy.THEIRS, 'eager' if form == 'deployed' else form]
        assert row['to_same']['ratio'] == pytest.approx(row['median_s'] / same['median_s'])
        assert row['images_per_s'] == pytest.approx(2 / row['median_s'])
        if form in (*_forms.EXACT, 'eager'):
            assert row['error'] < 1e-4, (name, form)
        else:  # another precision, so another result, but not that of another model
            assert 0 < row['error'] < 0.2, (name, form)
    printed = capsys.readouterr().out
    assert call(deploy.main, ['--show', str(path)]) == 0
    assert capsys.readouterr().out == printed
    assert 'left out: ConvNeXt, deployed: it has no switch_to_deploy' in printed


class GraphProcess:
    """A process that runs the graph in PyTorch, for exporting it takes half a minute."""

    graphs: ClassVar[dict] = {}

    def __init__(self, task):
        self.call = open_call(task, self.run)
        self.graph = self.graphs[task.path]

    def run(self, inputs):
        with torch.inference_mode():
            found = self.graph(*(torch.from_numpy(inputs[name]) for name in INPUTS))
        return {n: t.numpy() for n, t in zip(self.graph.outputs, found, strict=True)}

    def __call__(self):
        self.call()

    def fetch(self):
        return self.call()


@pytest.fixture
def graphs(monkeypatch):
    """Graphs by the paths of their files, run in place of the files."""
    monkeypatch.setattr(_forms, 'FileProcess', GraphProcess)
    monkeypatch.setattr(GraphProcess, 'graphs', {})
    return GraphProcess.graphs


def test_a_detector_end_to_end(detector, bf16, graphs, tmp_path, monkeypatch, capsys):
    def write(self, graph, path):
        if type(graph.backbone).__name__ == 'ConvNeXt':
            raise UserError('not written')
        graphs[path] = graph

    monkeypatch.setattr(_forms.DetectorSubject, 'write', write)
    path = tmp_path / 'r.json'
    options = ['--models', 'mask-rcnn', '--size', '64', '96', '--forms', 'eager', 'deployed']
    argv = [*options, 'bf16', 'onnxruntime', *FAST, '--detector', detector, '--json', str(path)]
    assert call(deploy.main, argv) == 0
    (model,) = json.loads(path.read_text())['models']
    rows = {(row['backbone'], row['form']): row for row in model['rows']}
    assert rows.keys() == {
        *((deploy.OURS, form) for form in ('eager', 'deployed', 'bf16', 'onnxruntime')),
        *((deploy.THEIRS, form) for form in ('eager', 'deployed', 'bf16')),
    }
    assert rows[deploy.OURS, 'deployed']['error'] < 1e-5
    assert rows[deploy.OURS, 'onnxruntime']['error'] < 1e-5
    assert rows[deploy.OURS, 'onnxruntime']['to_same'] is None
    assert rows[deploy.OURS, 'onnxruntime']['to_eager']['ratio'] > 0
    assert '- left out: ConvNeXt, onnxruntime: not written' in capsys.readouterr().out


def test_objects_of_a_file_are_those_of_pytorch(detector, graphs, tmp_path):
    """Masks pasted into the image included."""
    config = deploy.detector_config(detector, {})
    subject = _forms.DetectorSubject(config, (64, 96), 1, 0, 1, 1, tmp_path)
    enliven(subject.model)
    graphs[tmp_path] = subject.make_graph(subject.model)
    ours = _forms.in_inference_mode(subject.in_pytorch(subject.model))()
    found = subject.result(subject.from_file(tmp_path))
    assert len(ours['scores']) == len(found['scores']) > 10
    assert subject.distance(found, ours) < 1e-5
    for a, b in zip(ours['masks'], found['masks'], strict=True):
        assert (a != b).mean() < 1e-3
    assert subject.distance(dict(scores=found['scores'][1:]), ours) == float('inf')


def test_what_the_processor_lacks_is_said(classifiers, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(_forms, 'has_bfloat16_instructions', lambda: False)
    options = ['--models', 'classifier', '--size', '64', '64', '--batch', '1', *FAST]
    argv = [*options, '--classifiers', *classifiers, '--forms']
    assert call(deploy.main, [*argv, 'eager', 'bf16']) == 0
    reason = 'SELNeXt, bf16: the processor has neither AVX512-BF16 nor AMX'
    assert f'left out: {reason}' in capsys.readouterr().out
    assert call(deploy.main, [*argv, 'bf16']) == 2
    assert 'bf16 left out: the processor has neither' in capsys.readouterr().err


def test_a_missing_runtime_is_said(classifiers, monkeypatch, capsys):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        'find_spec',
        lambda name, *a: None if name == 'openvino' else found(name, *a),
    )
    options = ['--models', 'classifier', '--size', '64', '64', '--batch', '1', *FAST]
    argv = [*options, '--classifiers', *classifiers, '--forms', 'eager', 'openvino']
    assert call(deploy.main, argv) == 0
    assert "openvino: --to openvino needs openvino: pip install 'selnext_mm[" in (
        capsys.readouterr().out
    )


def row(backbone, form, to_eager, to_same=None, median=1.0):
    ratios = {'ratio_q25': 0, 'ratio_q75': 0}
    return {
        'backbone': backbone,
        'form': form,
        'median_s': median,
        'to_eager': dict(ratios, ratio=to_eager),
        'to_same': to_same and dict(ratios, ratio=to_same),
    }


def test_goals():
    rows = [
        row('SELNeXt', 'deployed', 0.8, 0.8, median=0.8),
        row('SELNeXt', 'onnxruntime', 0.75, 1.04, median=0.75),
        row('SELNeXt', 'openvino-int8', 0.29, 1.0),
        row('ConvNeXt', 'onnxruntime', 0.7, 1.0),
    ]
    assert deploy.goals(rows) == [
        'SELNeXt at most 1.00 of ConvNeXt in every form: not met: onnxruntime',
        'the best form of SELNeXt at most 0.30 of ConvNeXt eager: 0.290 (openvino-int8), met',
        'SELNeXt deployed at most 1.00 of its onnxruntime: 1.067, not met',
    ]
    assert deploy.goals([row('ConvNeXt', 'eager', 1.0, 1.0)]) == []


@pytest.mark.integration
def test_a_file_that_cannot_be_opened_ends_its_process(tmp_path):
    path = tmp_path / 'm.onnx'
    path.write_text('no model')
    with pytest.raises(RuntimeError, match=r'm\.onnx'):
        FileProcess(Task(path, {}))
