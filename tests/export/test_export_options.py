"""The arguments of an export, from Python and on the command line."""

import pytest

from selnext_mm import export_model
from selnext_mm.checkpoints.files import read_metadata
from selnext_mm.cli import export as command
from selnext_mm.errors import UserError
from selnext_mm.export import writers
from selnext_mm.export.graphs import choose_part
from selnext_mm.export.options import MismatchError
from tests.small_models import CONFIGS, TINY, save_model

pytest.importorskip('onnx')
pytest.importorskip('onnxscript')
pytest.importorskip('onnxruntime')
CHECKED = [(1, 64, 96)]


def test_from_python_the_suffix_says_what_is_written(classifier, tmp_path):
    lines = []
    path = export_model(
        classifier.config, classifier.checkpoint, tmp_path / 'w.safetensors', say=lines.append
    )
    assert path == tmp_path / 'w.safetensors'
    assert read_metadata(path)['part'] == 'weights'
    assert lines[-1].startswith(f'wrote {path}: ')
    with pytest.raises(UserError, match=r'w\.txt: it ends in none of \.onnx, \.xml, \.pt2'):
        export_model(classifier.config, classifier.checkpoint, tmp_path / 'w.txt')
    with pytest.raises(UserError, match='--to tflite; choose from onnx, openvino'):
        export_model(classifier.config, classifier.checkpoint, path, target='tflite')


def test_a_classifier_that_predict_cannot_run_from_a_file_is_told(tmp_path, monkeypatch):
    text = f"""
_base_ = '{CONFIGS}/cls/selnext_t_in1k.py'
head = dict(_delete_=True, type='MultiLabelLinearClsHead', in_channels=40, num_classes=4)
model = dict(backbone=dict(arch={TINY}), head=head, train_cfg=None)
"""
    several = save_model(tmp_path / 'several', text, ('ant', 'bee', 'cat', 'dog'))

    def write(graph, path, *rest):
        path.write_text('some file')
        return graph

    monkeypatch.setattr(writers, 'write_onnx', write)
    lines = []
    options = dict(check=CHECKED, say=lines.append)
    export_model(several.config, several.checkpoint, tmp_path / 'c.onnx', **options)
    assert any('MultiLabelLinearClsHead are not the softmax' in line for line in lines), lines


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(config=3), 'export_model: config=3; expected a string or a path'),
        (dict(opest=18), r"export_model\(\) has no option 'opest'; did you mean opset"),
        (dict(opset='18'), "export_model: opset='18'; expected a whole number or None"),
        (dict(classes='ant'), "classes='ant'; expected a list of strings or None"),
        (dict(check=[(1, 32)], tolerance='no'), "tolerance='no'; expected a number"),
        (dict(check=[1, 32, 32]), r'check=\[1, 32, 32\]; expected a list or None'),
    ],
)
def test_from_python_an_argument_of_the_wrong_kind(options, message, tmp_path):
    with pytest.raises(UserError, match=message):
        export_model(**dict(config='a.py', checkpoint='a.pth', out=tmp_path / 'a.onnx') | options)


def test_from_python_a_file_that_differs_is_an_error(classifier, tmp_path, monkeypatch):
    def other(graph, path, *rest):
        path.write_text('some file')
        return lambda images: [output + 1 for output in graph(images)]

    monkeypatch.setattr(writers, 'write_onnx', other)
    with pytest.raises(MismatchError, match=r'is above --tolerance 0.0001; nothing was written'):
        export_model(classifier.config, classifier.checkpoint, tmp_path / 'c.onnx', check=CHECKED)
    assert not list(tmp_path.iterdir())


def test_parts(classifier, detector):
    assert choose_part(classifier.model, None) == 'classifier'
    assert choose_part(detector.model, None) == 'detector'
    assert choose_part(detector.model, None, 'torch-export') == 'backbone-neck'
    with pytest.raises(UserError, match=r'written --to onnx or openvino'):
        choose_part(detector.model, 'detector', 'torch-export')
    with pytest.raises(UserError, match='this is a classifier'):
        choose_part(classifier.model, 'detector')
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


def test_a_place_that_takes_no_file_is_told_before_the_model_is_loaded(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match=r'--out .*file is a file, not a folder'):
        command.main(['c.py', 'c.pth', '--to', 'onnx', '--out', str(tmp_path / 'file' / 'x.onnx')])


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setattr(writers.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=r"onnxruntime: pip install 'selnext_mm\[export\]'"):
        writers.require('onnx')
