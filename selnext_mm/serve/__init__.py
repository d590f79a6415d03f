"""Models over HTTP: images in, JSON or annotated images out; an exported one without PyTorch.

>>> from selnext_mm.runtime import open_model
>>> from selnext_mm.serve import create_app
>>> app = create_app(open_model('model.onnx'))    # for any ASGI server

Needs FastAPI, uvicorn and prometheus-client: ``pip install 'selnext_mm[serve]'``.

Not here: opening and running files (``runtime/``) and checkpoints (``inference/``).
"""

from .limits import Limits

__all__ = ['Limits', 'create_app']


def __getattr__(name: str):
    if name == 'create_app':  # Limits needs no FastAPI
        from .app import create_app

        return create_app
    raise AttributeError(name)
