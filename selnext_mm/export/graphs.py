"""The exported part of a model as one module: image tensor in, tensors out."""

import torch
from torch import Tensor, nn

from selnext_mm.errors import UserError
from selnext_mm.inference.loading import is_classifier, is_segmentor, refuse_segmentor

PARTS = ('classifier', 'backbone', 'backbone-neck', 'detector')
WHOLE_DETECTORS = ('onnx', 'openvino')  # targets


class Graph(nn.Module):
    """``part`` of ``model``: (N, 3, H, W) -> one tensor per name in ``outputs``.

    The input is what the model's data preprocessor returns: normalised, channels in the order that
    the model was trained with. With ``normalize`` it is 0..255 and the graph normalises it.
    """

    def __init__(self, model: nn.Module, part: str, normalize: bool = False) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.neck = model.neck if part != 'backbone' and getattr(model, 'neck', None) else None
        self.head = model.head if part == 'classifier' else None
        self.outputs: tuple[str, ...] = ()
        mean, std = preprocessing(model)[:2]
        self.register_buffer('mean', mean.clone() if normalize else None)
        self.register_buffer('std', std.clone() if normalize else None)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.mean is not None:
            x = (x - self.mean) / self.std
        x = self.backbone(x)
        if self.neck is not None:
            x = self.neck(x)
        if self.head is not None:
            return (self.head(x),)
        return tuple(x) if isinstance(x, tuple | list) else (x,)


def preprocessing(model: nn.Module) -> tuple[Tensor, Tensor, str]:
    """(mean, std, 'RGB' or 'BGR') of the model's data preprocessor, on the scale 0..255."""
    prep = model.data_preprocessor
    mean, std = getattr(prep, 'mean', None), getattr(prep, 'std', None)
    mean = torch.zeros(3, 1, 1) if mean is None else mean.reshape(-1, 1, 1)
    std = torch.ones(3, 1, 1) if std is None else std.reshape(-1, 1, 1)
    flipped = getattr(prep, '_channel_conversion', False) or getattr(prep, 'to_rgb', False)
    return mean, std, 'RGB' if flipped else 'BGR'


def choose_part(model: nn.Module, part: str | None, target: str = 'onnx') -> str:
    """``part``, or by default as much of the model as ``target`` can take.

    That is all of a classifier, and all of a detector for the targets in :data:`WHOLE_DETECTORS`.
    For other targets, and for segmentors, it is the backbone with its neck, if there is one.

    Raises:
        UserError: for a part that the model does not have or that cannot be exported.
    """
    classifier = is_classifier(model) and not is_segmentor(model)
    if part in ('classifier', 'detector'):
        refuse_segmentor(model, f'--part {part}')
    if part is None:
        if classifier:
            return 'classifier'
        if target in WHOLE_DETECTORS and not is_segmentor(model):
            return 'detector'
        return 'backbone' if getattr(model, 'neck', None) is None else 'backbone-neck'
    if part == 'detector' and classifier:
        raise UserError('--part detector: this is a classifier')
    if part == 'detector' and target not in WHOLE_DETECTORS:
        raise UserError(
            '--part detector: whole detectors can only be written --to '
            + ' or '.join(WHOLE_DETECTORS)
        )
    if part == 'classifier' and not classifier:
        raise UserError('--part classifier: this is a detector; choose backbone or backbone-neck')
    if part == 'backbone-neck' and getattr(model, 'neck', None) is None:
        raise UserError('--part backbone-neck: the model has no neck; choose backbone')
    return part


def build_graph(model: nn.Module, part: str, normalize: bool = False) -> Graph:
    """:class:`Graph` in eval mode, with names for its outputs.

    A classifier's output is ``logits``; maps are called ``feat0``, ``feat1``, ..., finest first.
    """
    graph = Graph(model, part, normalize).eval()
    graph.requires_grad_(False)
    if part == 'classifier':
        graph.outputs = ('logits',)
        return graph
    with torch.no_grad():
        count = len(graph(torch.zeros(1, 3, 64, 64)))
    graph.outputs = tuple(f'feat{i}' for i in range(count))
    return graph
