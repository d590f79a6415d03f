"""A detector that says of every image how large and how bright it is, and a server around it."""

import contextlib
import http.client
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
META = dict(
    part='detector',
    classes='["ant", "bee"]',
    channels='BGR',
    pipeline=json.dumps(
        [dict(op='resize', width=32, height=32, keep_ratio=False, backend='cv2',
              interpolation='bilinear')]
    ),
    score_threshold='0.05',
    category_ids='[7, 3]',
)  # fmt: skip


def write_echo(path):
    """One box per image, as large as it; its score is the mean of its pixels over 255."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def constant(name, value):
        return helper.make_node('Constant', [], [name], value=numpy_helper.from_array(value))

    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    nodes = [
        constant('order', np.int64([1, 0])),
        constant('zero', np.float32(0)),
        constant('largest', np.float32(255)),
        helper.make_node('Gather', ['sizes', 'order'], ['turned'], axis=1),
        helper.make_node('Cast', ['turned'], ['sides'], to=TensorProto.FLOAT),
        helper.make_node('Mul', ['sides', 'zero'], ['corner']),
        helper.make_node('Concat', ['corner', 'sides'], ['boxes'], axis=1),
        helper.make_node('Cast', ['images'], ['pixels'], to=TensorProto.FLOAT),
        constant('axes', np.int64([1, 2, 3])),
        helper.make_node('ReduceMean', ['pixels', 'axes'], ['mean'], keepdims=0),
        helper.make_node('Div', ['mean', 'largest'], ['scores']),
        constant('first', np.int64(0)),
        constant('step', np.int64(1)),
        helper.make_node('Shape', ['images'], ['count_'], start=0, end=1),
        helper.make_node('Squeeze', ['count_'], ['count']),
        helper.make_node('Range', ['first', 'count', 'step'], ['image_index']),
        helper.make_node('Mul', ['image_index', 'first'], ['labels']),
    ]
    graph = helper.make_graph(
        nodes,
        'echo',
        [
            value('images', TensorProto.UINT8, ['n', 'h', 'w', 3]),
            value('sizes', TensorProto.INT64, ['n', 2]),
        ],
        [
            value('boxes', TensorProto.FLOAT, ['n', 4]),
            value('scores', TensorProto.FLOAT, ['n']),
            value('labels', TensorProto.INT64, ['n']),
            value('image_index', TensorProto.INT64, ['n']),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    helper.set_model_props(model, META)
    onnx.save(model, path)
    return path


def write_classifier(path):
    """Three classes, whose logits are the means of blue, green and red over 255."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    axes = numpy_helper.from_array(np.int64([2, 3]), 'axes')
    graph = helper.make_graph(
        [
            helper.make_node('ReduceMean', ['images', 'axes'], ['logits'], keepdims=0),
        ],
        'colours',
        [helper.make_tensor_value_info('images', TensorProto.FLOAT, ['n', 3, 'h', 'w'])],
        [helper.make_tensor_value_info('logits', TensorProto.FLOAT, ['n', 3])],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    numbers = dict(mean='[0, 0, 0]', std='[255, 255, 255]', normalized_inside='false')
    meta = dict(META, part='classifier', classes='["blue", "green", "red"]', **numbers)
    helper.set_model_props(model, meta | dict(activation='softmax'))
    onnx.save(model, path)
    return path


def create_app(*arguments, **options):
    """``selnext_mm.serve.create_app``, imported where its packages are known to be there."""
    from selnext_mm import serve

    return serve.create_app(*arguments, **options)


def png(width=40, height=30, grey=200) -> bytes:
    file = io.BytesIO()
    Image.new('RGB', (width, height), (grey, grey, grey)).save(file, 'PNG')
    return file.getvalue()


@contextlib.contextmanager
def serving(app):
    """``app`` behind uvicorn on a free port of this machine: gives the port."""
    import uvicorn

    with socket.socket() as bound:
        bound.bind(('127.0.0.1', 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level='error'))
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[bound]))
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.01)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


@contextlib.contextmanager
def served_by_command(line, folder, command=None):
    """``selnext-mm serve LINE --port 0 --threads 1`` in ``folder``: (process, port, its output).

    ``command`` is a ``selnext-mm`` that is installed elsewhere.
    """
    start = [command] if command else [sys.executable, '-m', 'selnext_mm']
    process = subprocess.Popen(
        [*start, *f'serve {line} --port 0 --threads 1'.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict(PYTHONPATH='' if command else str(ROOT), SELNEXT_MM_TOKEN=''),
    )
    try:
        printed = ''.join(process.stdout.readline() for _ in range(2))
        found = re.search(r'http://127\.0\.0\.1:(\d+) ', printed)
        assert found, f'{printed}{process.stderr.read()}'
        yield process, int(found[1]), printed
    finally:
        process.kill()
        process.communicate()


def ask(port, method='GET', path='/health', body=None, kind=None, headers=None):
    """(status, headers, body) of one request."""
    connection = http.client.HTTPConnection('127.0.0.1', port, timeout=60)
    try:
        headers = dict(headers or {}) | ({'Content-Type': kind} if kind else {})
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def post(port, body, kind='image/png', path='/predict', headers=None):
    """(status, content) of an image that is sent."""
    status, _, content = ask(port, 'POST', path, body, kind, headers)
    return status, json.loads(content)
