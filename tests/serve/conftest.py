import pytest

from selnext_mm.serve import Limits
from tests.serve.echo import serving, write_classifier, write_echo


@pytest.fixture(scope='session', autouse=True)
def _packages():
    for package in ('onnx', 'onnxruntime', 'fastapi', 'uvicorn', 'prometheus_client'):
        pytest.importorskip(package, reason="needs pip install 'selnext_mm[export,serve]'")


@pytest.fixture(scope='session')
def echo(tmp_path_factory):
    """The file of a detector that says how large and how bright an image is."""
    return write_echo(tmp_path_factory.mktemp('echo') / 'echo.onnx')


@pytest.fixture(scope='session')
def model(echo):
    from selnext_mm.runtime import Detector

    return Detector(echo, threads=1)


@pytest.fixture(scope='session')
def colours(tmp_path_factory):
    """A classifier of exported form."""
    from selnext_mm.runtime import Classifier

    return Classifier(write_classifier(tmp_path_factory.mktemp('colours') / 'c.onnx'), threads=1)


@pytest.fixture(scope='module')
def port(model):
    """A server with small limits."""
    from selnext_mm.serve import create_app

    limits = Limits(max_bytes=20_000, max_pixels=100_000, seconds=5, queue=12, per_client=8)
    with serving(create_app(model, limits)) as result:
        yield result
