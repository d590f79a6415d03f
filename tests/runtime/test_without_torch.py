"""The runtime and ``selnext-mm predict MODEL.onnx`` where torch and mm* cannot be imported."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.serve.echo import write_echo

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
ROOT = Path(__file__).resolve().parents[2]
BLOCKED = ('torch', 'torchvision', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain', 'matplotlib')
# The process is told from others by its command line; None in sys.modules is "not installed".
START = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None
sys.path.insert(0, {str(ROOT)!r})
"""
COMMAND = START + 'from selnext_mm.__main__ import main; sys.exit(main(sys.argv[1:]))'
META = dict(
    part='detector',
    classes='["ant", "bee"]',
    channels='BGR',
    pipeline=json.dumps(
        [dict(op='resize', width=64, height=48, keep_ratio=True, backend='cv2',
              interpolation='bilinear')]
    ),
    score_threshold='0.05',
    mask_threshold='0.5',
    category_ids='[7, 3]',
    category_ids_from='a file',
)  # fmt: skip


def write_model(path: Path) -> Path:
    """A detector that finds a bee in the left half of every image and an ant in the right."""
    from onnx import TensorProto, helper, numpy_helper

    def constant(name, value):
        return helper.make_node('Constant', [], [name], value=numpy_helper.from_array(value))

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    mask = np.zeros((2, 28, 28), np.float32)
    mask[:, :, :14] = 1  # the left half of the box
    nodes = [
        constant('share', np.float32([[0, 0, 0.5, 1], [0.5, 0, 1, 1]])),
        constant('order', np.int64([1, 0, 1, 0])),
        helper.make_node('Gather', ['sizes', 'order'], ['turned'], axis=1),
        helper.make_node('Cast', ['turned'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['share', 'float'], ['boxes']),
        constant('scores', np.float32([0.9, 0.4])),
        constant('labels', np.int64([1, 0])),
        constant('image_index', np.int64([0, 0])),
        constant('masks', mask),
    ]
    graph = helper.make_graph(
        nodes,
        'two',
        [
            value('images', TensorProto.UINT8, ['n', 'h', 'w', 3]),
            value('sizes', TensorProto.INT64, ['n', 2]),
        ],
        [
            value('boxes', TensorProto.FLOAT, ['d', 4]),
            value('scores', TensorProto.FLOAT, [2]),
            value('labels', TensorProto.INT64, [2]),
            value('image_index', TensorProto.INT64, [2]),
            value('masks', TensorProto.FLOAT, [2, 28, 28]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    helper.set_model_props(model, META)
    onnx.save(model, path)
    return path


@pytest.fixture
def room(tmp_path):
    write_model(tmp_path / 'm.onnx')
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / 'p.png')
    return tmp_path


def python(room, code, *argv):
    command = [sys.executable, '-c', code, *map(str, argv)]
    return subprocess.run(command, cwd=room, capture_output=True, text=True)


def test_a_detector_in_python(room):
    code = START + (
        'import json; from selnext_mm.runtime import Detector\n'
        'print(json.dumps(Detector("m.onnx")(["p.png"])))\n'
        f'loaded = [n for n in {BLOCKED} if sys.modules[n] is not None]; assert not loaded, loaded'
    )
    result = python(room, code)
    assert not result.returncode, result.stderr
    (record,) = json.loads(result.stdout)
    assert (record['file'], record['width'], record['height']) == ('p.png', 40, 30)
    bee, ant = record['instances']
    assert (bee['category'], bee['label'], bee['bbox']) == ('bee', 1, [0, 0, 20, 30])
    assert (ant['category'], ant['score']) == ('ant', pytest.approx(0.4))
    from pycocotools import mask as mask_utils

    pixels = mask_utils.decode(ant['segmentation'])
    assert pixels.shape == (30, 40)
    assert pixels[:, 20:30].all()
    assert pixels.sum() == 300


def test_predict_writes_the_same_files(room):
    result = python(room, COMMAND, 'predict', 'm.onnx', 'p.png', '--out', 'out')
    assert not result.returncode, result.stderr
    assert '2 objects, 2 with score >= 0.3' in result.stdout
    assert 'category ids from a file' in result.stdout
    content = json.loads((room / 'out/predictions.json').read_text())
    assert [c['name'] for c in content['categories']] == ['ant', 'bee']
    assert [a['category_id'] for a in content['annotations']] == [3, 7]
    results = json.loads((room / 'out/results.json').read_text())
    assert [r['bbox'] for r in results] == [[0, 0, 20, 30], [20, 0, 20, 30]]
    assert Image.open(room / 'out/pictures/p.jpg').size == (480, 360)


def test_a_large_picture_is_looked_at_in_slices(room):
    """The model finds one box in whatever it sees; in an image it is one, whatever the slices."""
    write_echo(room / 'echo.onnx')
    Image.new('RGB', (110, 90), (230, 230, 230)).save(room / 'large.png')
    line = 'predict echo.onnx large.png --slice 48 --overlap 0.25 --out out'
    result = python(room, COMMAND, *line.split())
    assert not result.returncode, result.stderr
    (found,) = json.loads((room / 'out/results.json').read_text())
    assert found['bbox'] == [0, 0, 110, 90]
    assert Image.open(room / 'out/pictures/large.jpg').size == (480, 393)


@pytest.mark.parametrize(
    ('line', 'text'),
    [
        ('predict c.py c.pth p.png --out out', 'a config and a checkpoint need PyTorch'),
        ('predict gone.onnx p.png --out out', 'gone.onnx is not there'),
        ('predict broken.onnx p.png --out out', 'onnxruntime cannot read broken.onnx'),
        ('predict m.onnx none/ --out out', 'none: no such file'),
        ('predict m.onnx p.png --out out --score-thr 2', '--score-thr 2; expected a number from 0'),
        ('predict m.onnx p.png --out out --threads 0', '--threads 0; expected 1 or more'),
        ('predict m.onnx p.png --out out --top-k 3', '--top-k 3 is for classifiers; of a detector'),
        ('predict m.xml p.png --out out', 'm.xml is not there'),
        ('predict m.onnx p.png --out out --slice 8', '--slice 8; expected 32 pixels or more'),
        ('predict m.onnx p.png --out out --slice 64 --overlap 1', '--overlap 1; expected a share'),
        ('predict m.onnx p.png --out out --overlap 0.1', '--overlap 0.1 needs --slice'),
    ],
)
def test_mistakes_are_one_message_and_nothing_is_written(line, text, room):
    (room / 'broken.onnx').write_text('no model')
    result = python(room, COMMAND, *line.split())
    assert result.returncode == 2
    assert text in result.stderr
    assert 'Traceback' not in result.stderr
    assert not (room / 'out').exists()


def test_help_needs_no_torch(room):
    result = python(room, COMMAND, 'predict', '--help')
    assert not result.returncode, result.stderr
    assert 'MODEL' in result.stdout
