"""Parameters and multiply-accumulates of the model of a config.

Two counts of one forward pass of one image, in eval mode, without loading weights:

``macs``
    multiply-accumulates of convolutions, linear layers and matrix products, nothing else
    (torch's ``FlopCounterMode``, which counts two operations per MAC, divided by 2).
``flops_mmcv``
    what ``mmcv.cnn.get_model_complexity_info`` counts, the counter of MMDetection 2 and of the
    FLOPs in many papers: module by module, MACs plus one operation per output of a biased
    convolution and of a ReLU, two per element of an affine norm, one per input of a pooling
    layer. It sees only modules of torch's own types, so it does not count matrix products,
    functional calls (the ReLU of the RPN, SELN's linear layers, NA's weighted sum) and SyncBN.

Both counts of a two-stage detector follow MMDetection 2's convention: backbone, neck and RPN on
the image, every box head on 1000 proposals, every mask head on 100 boxes. The heads get exactly
that number of RoI features, so the count depends on neither the weights nor the image; the RoI
align itself has no MACs. (MMDetection 3's ``get_flops.py`` runs the mask heads of a cascade on all
proposals and so gives more.)

No values are computed: the pass runs on tensors that have shapes but no data.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.errors import UserError
from selnext_mm.inference.loading import is_segmentor

CLASSIFIER_SHAPE = (224, 224)
DETECTOR_SHAPE = (800, 1280)
SEGMENTOR_SHAPE = (512, 2048)  # the size at which tables for ADE20K give FLOPs
NUM_PROPOSALS = 1000
NUM_MASKS = 100
# The counter knows the attention kernels for GPUs, but not the one that torch uses on a CPU.
EXTRA_COUNTS = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop(
        q, k, v
    )
}


@dataclass(frozen=True)
class Complexity:
    """Counts of one model; ``shape`` is (height, width), ``convention`` says what was run."""

    params: int
    trainable_params: int
    macs: int
    flops_mmcv: int
    shape: tuple[int, int]
    convention: str


@contextmanager
def mmcv_hooks(model: nn.Module) -> Iterator[Callable[[], int]]:
    """Attach mmcv's counting hooks to ``model``; yield a function that returns their sum."""
    from mmcv.cnn.utils.flops_counter import get_modules_mapping

    hooks = get_modules_mapping()
    counted = [module for module in model.modules() if type(module) in hooks]
    handles = []
    for module in counted:
        module.__flops__ = 0
        handles.append(module.register_forward_hook(hooks[type(module)]))
    try:
        yield lambda: sum(module.__flops__ for module in counted)
    finally:
        for module, handle in zip(counted, handles, strict=True):
            handle.remove()
            del module.__flops__


class WithoutInitialValues(TorchFunctionMode):
    """Inside it new tensors stay uninitialised, because drawing random numbers takes seconds."""

    # The functions of nn.init are intercepted themselves, and get the tensor as a keyword.
    SKIPPED = frozenset(
        {Tensor.uniform_, Tensor.normal_, Tensor.erfinv_}
        | {nn.init.uniform_, nn.init.normal_, nn.init.kaiming_uniform_}
    )

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in self.SKIPPED:
            return args[0] if args else kwargs['tensor']
        return func(*args, **(kwargs or {}))


def without_data(model: nn.Module) -> nn.Module:
    """A copy of ``model`` whose parameters and buffers have shapes and no data (device meta)."""
    memo: dict[int, Tensor] = {}
    for parameter in model.parameters():
        empty = torch.empty_like(parameter, device='meta')
        memo[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device='meta')
    return copy.deepcopy(model, memo)


def is_detector(model: nn.Module) -> bool:
    return hasattr(model, 'bbox_head') or hasattr(model, 'roi_head')


def default_shape(model: nn.Module) -> tuple[int, int]:
    """The usual height and width for counting a model of this kind."""
    if is_segmentor(model):
        return SEGMENTOR_SHAPE
    return DETECTOR_SHAPE if is_detector(model) else CLASSIFIER_SHAPE


def _each(modules: nn.Module) -> list[nn.Module]:
    return list(modules) if isinstance(modules, nn.ModuleList) else [modules]


def _run_heads(heads: nn.Module, extractors: nn.Module, rois: int) -> None:
    """Run the head of every cascade stage on ``rois`` RoI features."""
    for head, extractor in zip(_each(heads), _each(extractors), strict=True):
        size = extractor.roi_layers[0].output_size
        head(torch.empty(rois, extractor.out_channels, *size))


def run_once(model: nn.Module, image: Tensor) -> str:
    """One forward pass by the convention of this module's docstring; returns it in words."""
    if not hasattr(model, 'roi_head'):
        model(image, mode='tensor')
        return 'one image'
    roi_head = model.roi_head
    if roi_head.with_shared_head:
        raise UserError('the model has a shared RoI head, for which no count is defined here')
    features = model.extract_feat(image)
    model.rpn_head(features)
    _run_heads(roi_head.bbox_head, roi_head.bbox_roi_extractor, NUM_PROPOSALS)
    convention = f'one image, {NUM_PROPOSALS} proposals'
    if roi_head.with_mask:
        _run_heads(roi_head.mask_head, roi_head.mask_roi_extractor, NUM_MASKS)
        convention += f', {NUM_MASKS} masks'
    return convention


def measure_model(model: nn.Module, shape: tuple[int, int] | None = None) -> Complexity:
    """Count ``model``, a detector, segmentor or classifier, at ``shape`` (H, W).

    ``shape=None`` means 800 x 1280 for detectors, 512 x 2048 for segmentors, whose auxiliary head
    is not counted, and 224 x 224 for classifiers.
    """
    if shape is None:
        shape = default_shape(model)
    products = FlopCounterMode(display=False, custom_mapping=EXTRA_COUNTS)
    shapes = without_data(model)
    with torch.no_grad(), torch.device('meta'), mmcv_hooks(shapes) as flops_mmcv, products:
        convention = run_once(shapes, torch.empty(1, 3, *shape))
        flops = int(flops_mmcv())
    return Complexity(
        params=sum(p.numel() for p in model.parameters()),
        trainable_params=sum(p.numel() for p in model.parameters() if p.requires_grad),
        macs=products.get_total_flops() // 2,
        flops_mmcv=flops,
        shape=(shape[0], shape[1]),
        convention=convention,
    )


def measure(config: str | Path | Config, shape: tuple[int, int] | None = None) -> Complexity:
    """:func:`measure_model` of the model that a config (a file or a Config) describes."""
    if not isinstance(config, Config):
        config = load_config(config)
    elif 'model' not in config:
        raise UserError(f'{config.filename or "the config"} describes no model')
    with WithoutInitialValues():
        model = build_model(config).eval()
    return measure_model(model, shape)
