"""Class activation maps: the parts of an image on which a classifier's score is based (Fig. 6).

Ablation-CAM, the paper's choice: with ``A_k`` the channels of a layer, ``y`` the score (logit) of
a class and ``y_k`` the same score after ``A_k`` is set to zero,

    ``w_k = (y - y_k) / |y|``,   map = ``max(0, sum_k w_k A_k)``, scaled to 0..1.

The library grad-cam makes the maps. Three things differ from calling it directly:

- Its ablation replaces a channel with ``min - 1e7`` where a map has negative values, as all maps
  of SELNeXt have; that channel then dominates the norm before the head. Here the channel is set to
  zero, as in the Ablation-CAM paper.
- It divides by ``y``, which inverts the map of a class with a negative score. Here the divisor is
  ``|y|``; nothing changes where ``y > 0``.
- It runs the whole model once per channel. Here only the part after the layer runs, so the last
  stage of SELNeXt-B costs 1024 passes of the head instead of 1024 of the model.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from selnext_mm.analysis.complexity import is_detector
from selnext_mm.errors import UserError
from selnext_mm.text import near

# name -> (class of grad-cam, title): the methods that need only a layer's map and its gradient
METHODS = {
    'ablation': ('AblationCAM', 'Ablation-CAM'),
    'gradcam': ('GradCAM', 'Grad-CAM'),
    'gradcam++': ('GradCAMPlusPlus', 'Grad-CAM++'),
    'hirescam': ('HiResCAM', 'HiResCAM'),
    'layercam': ('LayerCAM', 'LayerCAM'),
}
STAGE = re.compile(r'stages\.\d+|layers?\.?\d+')
STUB = 64  # side of the small image that is enough where only the layer's map matters


@dataclass(frozen=True)
class ClassMap:
    """Map of one image: ``heat`` is float32 (h, w) in 0..1, on the layer's own grid.

    ``score`` and ``target_score`` are softmax probabilities; ``target`` is the class of the map.
    """

    predicted: int
    score: float
    target: int
    target_score: float
    layer: str
    heat: np.ndarray


def grad_cam() -> ModuleType:
    """The library grad-cam.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import pytorch_grad_cam
        import pytorch_grad_cam.ablation_cam
        import pytorch_grad_cam.utils.model_targets
    except ImportError as error:
        raise UserError(
            f'class activation maps need the library grad-cam ({error}): '
            "pip install 'selnext_mm[analysis]', or pip install grad-cam"
        ) from error
    return pytorch_grad_cam


class _FromLayer(nn.Module):
    """The part of a model after ``layer``: (B, C, h, w) -> logits (B, classes).

    The layers before it still run, on ``picture`` (1, 3, H, W), but their output is discarded. So
    a small stub of the image will do, unless a shortcut bypasses the layer.
    """

    def __init__(self, model: nn.Module, layer: nn.Module) -> None:
        super().__init__()
        self.entry = nn.Identity()  # grad-cam hooks this instead of the layer
        self.model, self.layer = model, layer
        self.picture, self.stub = torch.empty(0), None

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.entry(maps)
        picture = self.picture.expand(len(maps), -1, -1, -1) if self.stub is None else self.stub
        # A copy, because the next layers may work in place.
        handle = self.layer.register_forward_hook(lambda *_: maps.clone())
        try:
            return self.model(picture, mode='tensor')
        finally:
            handle.remove()

    def try_stub(self, maps: Tensor, logits: Tensor) -> None:
        """From now on use a corner of the image, if it gives the same ``logits``."""
        self.stub = self.picture[:, :, :STUB, :STUB]
        try:
            outputs = self(maps.repeat(2, 1, 1, 1))
        except RuntimeError:  # sizes do not match, as with a shortcut around the layer
            self.stub = None
            return
        tolerance = 1e-5 * logits.abs().max().item()
        if not torch.allclose(outputs, logits.expand_as(outputs), rtol=0, atol=tolerance):
            self.stub = None


def find_layers(model: nn.Module, x: Tensor) -> dict[str, nn.Module]:
    """Modules of the backbone whose output is a map, in the order in which they finish.

    Names are relative to the backbone. Maps of one pixel and channels-last outputs are left out.
    """
    found, handles = {}, []

    def attach(name: str, module: nn.Module) -> None:
        def look(module: nn.Module, args: tuple, output: Tensor) -> None:
            if not isinstance(output, Tensor) or output.ndim != 4:
                return
            h, w = output.shape[2:]
            if h * w > 1 and h * x.shape[3] == w * x.shape[2]:
                found[name] = module

        handles.append(module.register_forward_hook(look))

    for name, module in model.backbone.named_modules():
        if name:
            attach(name, module)
    try:
        model(x[:1], mode='tensor')
    finally:
        for handle in handles:
            handle.remove()
    return found


def choose_layer(model: nn.Module, x: Tensor, name: str | None = None) -> str:
    """``name`` if it is a layer with a map; by default the last stage that has one.

    Raises:
        UserError: for an unknown name (the message lists the choices), or if no map has more than
            one pixel.
    """
    layers = find_layers(model, x)
    stages = [n for n in layers if STAGE.fullmatch(n)] or list(layers)
    size = 'x'.join(map(str, x.shape[2:]))
    if not stages:
        raise UserError(
            f'{type(model.backbone).__name__} has no map of more than one pixel at {size}; give a '
            'larger --size'
        )
    if name is None:
        return stages[-1]
    name = name.removeprefix('backbone.')
    if name not in layers:
        likely = near(name, layers, 3)
        raise UserError(
            f'{type(model.backbone).__name__} has no layer {name!r} with a map of more than one '
            f'pixel at {size}; choose from {", ".join(stages)}, or one inside them such as '
            f'{", ".join(likely or list(layers)[-3:])}'
        )
    return name


def _check_classifier(model: nn.Module) -> None:
    if is_detector(model):
        raise UserError(
            f'{type(model).__name__} is a detector, but class activation maps need a classifier; '
            'give a config of configs/cls'
        )
    if getattr(model, 'head', None) is None or not hasattr(model, 'backbone'):
        raise UserError(f'{type(model).__name__} is not a classifier with a backbone and a head')


def _explainer(library: ModuleType, method: str, model: _FromLayer, batch_size: int):
    """An object of grad-cam's class for ``method``, on the entry of ``model``."""
    cls = getattr(library, METHODS[method][0])
    if method != 'ablation':
        return cls(model, [model.entry])

    # Defined here because their base classes exist only after grad-cam has been imported.
    class ZeroAblation(library.ablation_layer.AblationLayer):  # type: ignore[name-defined]
        def __call__(self, x: Tensor) -> Tensor:
            rows = torch.arange(len(self.activations))
            self.activations[rows, torch.as_tensor(self.indices[: len(rows)]).long()] = 0
            return self.activations

    class SignedAblation(cls):  # type: ignore[misc, valid-type]
        def get_cam_weights(self, input_tensor, target_layer, targets, activations, grads):
            weights = super().get_cam_weights(
                input_tensor, target_layer, targets, activations, grads
            )
            scores = [t(y).item() for t, y in zip(targets, self.outputs, strict=True)]
            return weights * np.sign(np.float32(scores))[:, None]

    return SignedAblation(
        model, [model.entry], ablation_layer=ZeroAblation(), batch_size=batch_size
    )


@contextmanager
def _without_bar(library: ModuleType) -> Iterator[None]:
    """Turn off Ablation-CAM's progress bar per image, which would clutter other output."""
    module = library.ablation_cam
    before, module.tqdm = module.tqdm, SimpleNamespace(tqdm=iter)
    try:
        yield
    finally:
        module.tqdm = before


def _trunk(model: nn.Module, layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output of ``layer``, and the logits."""
    maps = []
    handle = layer.register_forward_hook(lambda _, args, output: maps.append(output.detach()))
    try:
        with torch.no_grad():
            logits = model(x, mode='tensor')
    finally:
        handle.remove()
    return maps[0], logits


def class_maps(
    model: nn.Module,
    inputs: Iterable[Tensor],
    method: str = 'ablation',
    target: int | None = None,
    layer: str | None = None,
    on_batch: Callable[[int], None] | None = None,
    ablations: int = 32,
) -> list[ClassMap]:
    """Class activation map of every image.

    Args:
        model: an mmpretrain classifier in eval mode.
        inputs: normalised batches (N, 3, H, W).
        method: one of ``METHODS``.
        target: index of the class to explain; None for the predicted class of each image.
        layer: name of a module of the backbone whose output is a map; None for the last stage.
        on_batch: called with 1 after each image.
        ablations: number of channels ablated in one pass.

    Raises:
        UserError: for a detector, an unknown method, class or layer, or if grad-cam is missing.
    """
    if method not in METHODS:
        raise UserError(f'method {method!r}; expected one of {", ".join(METHODS)}')
    library = grad_cam()
    _check_classifier(model)
    results, opened, explain = [], None, None
    for x in inputs:
        if opened is None:
            with torch.no_grad():
                layer = choose_layer(model, x, layer)
            opened = _FromLayer(model, model.backbone.get_submodule(layer))
            explain = _explainer(library, method, opened, ablations)
        maps, logits = _trunk(model, opened.layer, x)
        if target is not None and not 0 <= target < logits.shape[1]:
            raise UserError(
                f'class {target}; {type(model).__name__} has the classes 0..{logits.shape[1] - 1}'
            )
        scores = logits.softmax(1)
        for i in range(len(x)):
            opened.picture = x[i : i + 1]
            if not results:
                with torch.no_grad():
                    opened.try_stub(maps[:1], logits[:1])
            predicted = int(logits[i].argmax())
            wanted = predicted if target is None else target
            entry = maps[i : i + 1].clone().requires_grad_()
            targets = [library.utils.model_targets.ClassifierOutputTarget(wanted)]
            with _without_bar(library), torch.set_grad_enabled(method != 'ablation'):
                heat = explain(entry, targets)
            results.append(
                ClassMap(
                    predicted,
                    scores[i, predicted].item(),
                    wanted,
                    scores[i, wanted].item(),
                    layer,
                    heat[0].astype(np.float32),
                )
            )
            if on_batch:
                on_batch(1)
    if opened is None:
        raise UserError('no images were given')
    opened.zero_grad(set_to_none=True)
    return results
