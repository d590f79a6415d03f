"""What is no image, no number and no provider is one message."""

import numpy as np
import pytest
from PIL import Image

from selnext_mm.errors import UserError
from selnext_mm.inference.images import list_images


@pytest.fixture(scope='module')
def file(tmp_path_factory):
    for package in ('onnx', 'onnxruntime'):
        pytest.importorskip(package, reason="needs pip install 'selnext_mm[export]'")
    from tests.serve.echo import write_echo

    return write_echo(tmp_path_factory.mktemp('echo') / 'e.onnx')


@pytest.mark.parametrize(
    ('images', 'text'),
    [
        (Image.new('RGB', (4, 4)), r'a Image is neither a name nor .*np\.asarray\(image\.convert'),
        ([Image.new('RGB', (4, 4))], 'a Image is neither'),
        ([[np.zeros((4, 4, 3), np.uint8)]], 'a list is neither a name nor a BGR array'),
        (None, 'a NoneType is neither'),
        ([b'a.jpg'], 'a bytes is neither'),
        ('', 'an empty name among the images'),
        (np.zeros((0, 4, 3), np.uint8), r'\(0, 4, 3\) is not an image'),
        ([], 'no images given'),
    ],
)
def test_what_is_no_image(images, text, file):
    from selnext_mm.runtime import Detector

    with pytest.raises(UserError, match=text):
        Detector(file, threads=1)(images)


@pytest.mark.parametrize(('entry', 'text'), [(3, 'a int is no name'), (['a', ''], 'an empty')])
def test_what_is_no_name(entry, text):
    with pytest.raises(UserError, match=text):
        list_images(entry)


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(threads=0), 'threads=0; expected 1 or more'),
        (dict(threads=1.5), 'threads=1.5; expected 1 or more'),
        (dict(workers=0), 'workers=0; expected 1 or more'),
        (dict(providers=['NoExecutionProvider']), r'providers=\[.No.*list of .*CPUExecutionProvid'),
        (dict(providers='CPUExecutionProvider'), 'providers=.CPU.*expected a list of'),
    ],
)
def test_options_that_cannot_be(options, text, file):
    from selnext_mm.runtime import open_model

    with pytest.raises(UserError, match=text):
        open_model(file, **options)


@pytest.mark.parametrize('change', [dict(classes='[oops'), dict(channels=None), dict(pipeline='')])
def test_metadata_that_cannot_be_used(change, file, tmp_path):
    import onnx

    from selnext_mm.runtime import open_model
    from tests.serve.echo import META

    content = onnx.load(file)
    del content.metadata_props[:]
    meta = {k: v for k, v in (META | change).items() if v is not None}
    onnx.helper.set_model_props(content, meta)
    onnx.save(content, tmp_path / 'm.onnx')
    with pytest.raises(UserError, match=r'm\.onnx: its metadata cannot be used \('):
        open_model(tmp_path / 'm.onnx')


@pytest.mark.parametrize('part', ['detector', 'classifier'])
def test_a_model_of_somebody_else_with_our_metadata(part, tmp_path):
    import onnx
    from onnx import TensorProto, helper

    from selnext_mm.runtime import open_model
    from tests.serve.echo import META

    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ['n', 3])

    node = helper.make_node('Relu', ['pixel_values'], ['hidden'])
    graph = helper.make_graph([node], 'other', [value('pixel_values')], [value('hidden')])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=10)
    helper.set_model_props(model, META | dict(part=part, activation='softmax'))
    onnx.save(model, tmp_path / 'other.onnx')
    with pytest.raises(UserError, match=f'takes pixel_values and gives hidden; a {part} of .*imag'):
        open_model(tmp_path / 'other.onnx')


def test_a_file_that_may_not_be_read_is_told_apart_from_a_damaged_one(file, monkeypatch):
    from selnext_mm.runtime import sessions

    def refuse(path, mode):
        raise PermissionError(13, 'Permission denied', str(path))

    monkeypatch.setattr(sessions, 'open', refuse, raising=False)
    with pytest.raises(UserError, match=r'e\.onnx: cannot be read \(Permission denied\)'):
        sessions.open_session(file)
