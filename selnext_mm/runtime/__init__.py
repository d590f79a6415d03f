"""Run exported models on images with onnxruntime or OpenVINO, without PyTorch.

>>> from selnext_mm.runtime import Detector
>>> records = Detector('model.onnx')(['photo.jpg', 'holiday/'])

Needs numpy, OpenCV, Pillow, and onnxruntime or OpenVINO: ``pip install 'selnext_mm[runtime]'``.

Not here: making these files (``export/``), HTTP (``serve/``).
"""

from .models import Classifier, Detector, open_model

__all__ = ['Classifier', 'Detector', 'open_model']
