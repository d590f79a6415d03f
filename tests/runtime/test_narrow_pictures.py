"""An image that is a line of pixels stops nobody else's, and costs no memory."""

import numpy as np
import pytest
from PIL import Image

from selnext_mm.errors import UserError

NARROW = '3000 x 2 pixels: one side is more than 1000 times the other; cut the image'
TOO_NARROW = '400 x 2 pixels are too narrow: the model would get 32 x 0'


@pytest.fixture(scope='module', autouse=True)
def _packages():
    for package in ('onnx', 'onnxruntime'):
        pytest.importorskip(package, reason="needs pip install 'selnext_mm[export]'")


@pytest.fixture
def model(tmp_path):
    """A detector that keeps the ratio of the sides."""
    import onnx

    from selnext_mm.runtime import Detector
    from tests.serve.echo import META, write_echo

    content = onnx.load(write_echo(tmp_path / 'e.onnx'))
    del content.metadata_props[:]
    steps = META['pipeline'].replace('"keep_ratio": false', '"keep_ratio": true')
    onnx.helper.set_model_props(content, META | dict(pipeline=steps))
    onnx.save(content, tmp_path / 'e.onnx')
    return Detector(tmp_path / 'e.onnx', threads=1)


@pytest.mark.parametrize('slices', [None, 64])
def test_it_is_named_and_the_others_are_done(slices, model, tmp_path):
    from selnext_mm.inference.images import list_images
    from selnext_mm.inference.sliced import Sliced
    from selnext_mm.slicing import Slicing

    folder = tmp_path / 'pictures'
    folder.mkdir()
    for name, size in (('a', (3000, 2)), ('b', (400, 2)), ('c', (60, 40))):
        Image.new('RGB', size, 'white').save(folder / f'{name}.png')
    records = []
    runs = Sliced(model, Slicing(slices, 0.2)) if slices else model
    runs.run(list_images(folder), lambda record, pixels: records.append((record, pixels is None)))
    assert [(r.get('error'), gone) for r, gone in records] == [
        (NARROW, True), (TOO_NARROW, True), (None, False)
    ]  # fmt: skip


def test_an_array_is_one_message(model):
    with pytest.raises(UserError, match='3000 x 2 pixels'):
        model(np.zeros((2, 3000, 3), np.uint8))
    with pytest.raises(UserError, match='the model would get 0 x 32'):
        model(np.zeros((400, 2, 3), np.uint8))


def test_no_memory_is_taken_for_it():
    """The shorter side to 256 pixels: it would be 256 x 15 million."""
    from selnext_mm.runtime.pictures import prepare

    edge = dict(op='resize_edge', scale=256, edge='short', backend='cv2', interpolation='bilinear')
    with pytest.raises(UserError, match='60000 x 1 pixels: one side is more than 1000 times'):
        prepare(np.zeros((1, 60_000, 3), np.uint8), [edge])
