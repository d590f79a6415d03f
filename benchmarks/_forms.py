"""One model in the forms that people run it in on a CPU: PyTorch, onnxruntime, OpenVINO.

A :class:`Subject` is a model with random weights and its input. :data:`FORMS` makes a call of it;
all calls of a subject give the same kind of result, which :meth:`Subject.distance` compares.
"""

import copy
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _file_process import FileProcess, Task
from _models import Logits, UnavailableError, relative_error
from mmengine.config import Config
from torch import nn

from selnext_mm.config.build import build_model, quiet
from selnext_mm.errors import UserError
from selnext_mm.export.graphs import build_graph, preprocessing
from selnext_mm.export.int8 import float_modules, quantize
from selnext_mm.export.merge import merge
from selnext_mm.export.writers import require, write_onnx
from selnext_mm.inference.heads import speed_up_heads
from selnext_mm.inference.loading import deploy
from selnext_mm.ops.capabilities import has_bfloat16_instructions
from selnext_mm.runtime.sessions import openvino_core

Call = Callable[[], Any]


class Subject:
    """A model and its input.

    Args:
        config: what is built, with random weights.
        size: (height, width) of the images.
        batch: number of images.
        seed: of weights and images.
        threads: of the programs that are no PyTorch; None: as many as there are cores.
        calibration: images that the ranges of int8 are taken from.
        folder: for files, which are written when they are first asked for.
    """

    pastes = False

    def __init__(
        self,
        config: Config,
        size: tuple[int, int],
        batch: int,
        seed: int,
        threads: int | None,
        calibration: int,
        folder: Path,
    ) -> None:
        torch.manual_seed(seed)
        with quiet():
            self.model = build_model(config)
            self.model.init_weights()
        self.model.eval()
        self.size, self.batch, self.threads, self.folder = size, batch, threads, folder
        random = np.random.default_rng(seed)
        self.pixels = random.integers(0, 256, (batch, *size, 3), dtype=np.uint8)
        self.more = random.integers(0, 256, (calibration, 1, *size, 3), dtype=np.uint8)

    @cached_property
    def deployed(self) -> nn.Module | None:
        """A deployed copy, None where there is nothing to deploy."""
        model = copy.deepcopy(self.model)
        return model if any([deploy(model), speed_up_heads(model)]) else None

    def in_pytorch(self, model: nn.Module) -> Call:
        raise NotImplementedError

    def feed(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """What a file takes for (N, H, W, 3) uint8 images."""
        raise NotImplementedError

    def finish(self, found: dict) -> Any:
        """What PyTorch's call gives, from what a file's process gives."""
        return found

    def distance(self, found: Any, reference: Any) -> float:
        raise NotImplementedError

    def make_graph(self, model: nn.Module) -> nn.Module:
        raise NotImplementedError

    def write(self, graph: nn.Module, path: Path) -> None:
        raise NotImplementedError

    def file(self, target: str = 'onnx', int8: bool = False) -> Path:
        """The model as the ONNX file that ``selnext-mm export --to TARGET [--int8]`` makes."""
        require('onnx')
        path = self.folder / f'{"int8" if int8 else target}.onnx'
        if path.is_file():
            return path
        model = copy.deepcopy(self.model)
        merge(model, target, int8)
        graph = self.make_graph(model)
        if not int8:
            self.write(graph, path)
            return path
        source = self.folder / 'source.onnx'
        self.write(graph, source)
        feeds: Iterator = (self.feed(pixels) for pixels in self.more)
        quantize(source, path, feeds, float_modules(graph))
        return path

    def from_file(self, path: Path, precision: str | None = None) -> Call:
        """A call of the file in a process of its own."""
        size = self.size if self.pastes else None
        return FileProcess(Task(path, self.feed(self.pixels), self.threads, precision, size))

    def result(self, call: Call) -> Any:
        """What ``call`` gives; a call of a file gives nothing unless it is asked for it."""
        return self.finish(call.fetch()) if isinstance(call, FileProcess) else call()


class ClassifierSubject(Subject):
    """From normalised images to logits."""

    def in_pytorch(self, model: nn.Module) -> Call:
        logits, x = Logits(model), torch.from_numpy(self.feed(self.pixels)['images'])
        return lambda: logits(x)

    def feed(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        x = (pixels.astype(np.float32) - 127.5) / 57.0
        return {'images': np.ascontiguousarray(x.transpose(0, 3, 1, 2))}

    def finish(self, found: dict[str, np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(found['logits'])

    def distance(self, found: torch.Tensor, reference: torch.Tensor) -> float:
        """The largest difference of a logit, over the largest logit."""
        return relative_error(found, reference)

    def make_graph(self, model: nn.Module) -> nn.Module:
        return build_graph(model, 'classifier')

    def write(self, graph: nn.Module, path: Path) -> None:
        write_onnx(graph, path, {})


class DetectorSubject(Subject):
    """From the pixels of one image to boxes, scores and masks pasted into it.

    Random weights give scores that are nearly the same, so that a rounding may let another object
    in: the mean over all of them is compared. Object by object is what "selnext-mm export" does.
    """

    pastes = True

    def in_pytorch(self, model: nn.Module) -> Call:
        from mmdet.structures import DetDataSample

        shape = dict(img_shape=self.size, ori_shape=self.size, scale_factor=(1.0, 1.0))
        # A file takes images in the order of its channels, PyTorch's preprocessor BGR.
        turned = preprocessing(model)[2] == 'RGB'
        pixels = self.pixels[0][..., ::-1] if turned else self.pixels[0]
        image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())

        def call() -> dict:
            data = dict(inputs=[image], data_samples=[DetDataSample(metainfo=dict(shape))])
            found = model.test_step(data)[0].pred_instances
            return dict(scores=found.scores.float().numpy(), masks=found.masks.numpy())

        return call

    def feed(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        sizes = np.array([self.size] * len(pixels), dtype=np.int64)
        return {'images': pixels, 'sizes': sizes}

    def distance(self, found: dict, reference: dict) -> float:
        """The mean difference of the scores in their order; infinite for another number."""
        ours, theirs = (np.sort(result['scores']) for result in (found, reference))
        if len(ours) != len(theirs):
            return float('inf')
        return float(np.abs(ours - theirs).mean()) if len(ours) else 0.0

    def make_graph(self, model: nn.Module) -> nn.Module:
        from selnext_mm.export.detection.graph import DetectorGraph

        return DetectorGraph(model).eval()

    def write(self, graph: nn.Module, path: Path) -> None:
        from selnext_mm.export.detection.writer import write_detector

        write_detector(graph, path, {})


def in_inference_mode(call: Call, bf16: bool = False) -> Call:
    def run() -> Any:
        with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16, enabled=bf16):
            return call()

    return run


def check_bfloat16() -> None:
    if not has_bfloat16_instructions():
        raise UnavailableError('the processor has neither AVX512-BF16 nor AMX')


def make_eager(subject: Subject) -> Call:
    return in_inference_mode(subject.in_pytorch(subject.model))


def make_deployed(subject: Subject) -> Call:
    if subject.deployed is None:
        raise UnavailableError('it has no switch_to_deploy: eager is all there is')
    return in_inference_mode(subject.in_pytorch(subject.deployed))


def make_bf16(subject: Subject) -> Call:
    """bfloat16 autocast, deployed where there is something to deploy."""
    check_bfloat16()
    return in_inference_mode(subject.in_pytorch(subject.deployed or subject.model), bf16=True)


def make_bf16_weights(subject: Subject) -> Call:
    """The backbone in bfloat16, images and maps converted; deployed where it can be."""
    check_bfloat16()
    model = copy.deepcopy(subject.model)
    try:
        deploy(model, 'bfloat16')
    except UserError:  # not one of ours
        backbone = model.backbone.bfloat16()
        backbone.register_forward_pre_hook(lambda module, args: (args[0].bfloat16(),))
        backbone.register_forward_hook(lambda module, args, maps: tuple(m.float() for m in maps))
    speed_up_heads(model)
    return in_inference_mode(subject.in_pytorch(model))


def make_onnxruntime(subject: Subject, int8: bool = False) -> Call:
    return subject.from_file(subject.file(int8=int8))


def make_openvino(subject: Subject, precision: str = 'f32', int8: bool = False) -> Call:
    """OpenVINO's file, or the ONNX file in int8, which keeps its quantised layers there."""
    require('openvino')
    capabilities = openvino_core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    if precision == 'bf16' and 'BF16' not in capabilities:
        raise UnavailableError('OpenVINO has no bfloat16 on this processor')
    return subject.from_file(subject.file('openvino', int8), precision)


FORMS: dict[str, Callable[[Subject], Call]] = {
    'eager': make_eager,
    'deployed': make_deployed,
    'bf16': make_bf16,
    'bf16-weights': make_bf16_weights,
    'onnxruntime': make_onnxruntime,
    'onnxruntime-int8': lambda subject: make_onnxruntime(subject, int8=True),
    'openvino': make_openvino,
    'openvino-bf16': lambda subject: make_openvino(subject, 'bf16'),
    'openvino-int8': lambda subject: make_openvino(subject, int8=True),
}
# Those that compute the same as eager, but for rounding.
EXACT = ('deployed', 'onnxruntime', 'openvino')
