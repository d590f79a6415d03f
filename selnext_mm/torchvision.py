"""The backbones in torchvision's detectors: ``FasterRCNN(with_fpn(SELNeXt(...)), num_classes=2)``.

Imports of ``torchvision`` in this file are absolute: they mean the package of that name.
"""

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from selnext_mm.errors import UserError

try:
    import torchvision  # noqa: F401 - the library, not this module
except ModuleNotFoundError as error:
    if error.name != 'torchvision':
        raise
    raise UserError(
        'selnext_mm.torchvision needs torchvision, which is not installed: pip install torchvision'
    ) from error

from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops.feature_pyramid_network import (
    ExtraFPNBlock,
    FeaturePyramidNetwork,
    LastLevelMaxPool,
)


class NamedMaps(nn.Module):
    """The maps of a backbone as an ordered dict '0', '1', ..., the form that torchvision reads.

    Shapes: (N, in_channels, H, W) -> {'0': (N, C_0, H_0, W_0), ...}.
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return OrderedDict((str(i), y) for i, y in enumerate(self.backbone(x)))


@torch.no_grad()
def map_widths(backbone: nn.Module) -> list[int]:
    """Channels of each map of a backbone, found by running it on a small black image.

    Raises:
        UserError: if it returns vectors, like a classifier's backbone.
    """
    first = next((p for p in backbone.parameters() if p.ndim == 4), None)
    if first is None:
        raise UserError(
            f'{type(backbone).__name__} has no convolution; give a backbone that takes images'
        )
    image = first.new_zeros(1, first.shape[1], 64, 64)
    was_training = backbone.training
    outputs = backbone.eval()(image)
    backbone.train(was_training)
    if any(y.ndim != 4 for y in outputs):
        raise UserError(
            f'{type(backbone).__name__} gives vectors, and a detector needs maps: build it with '
            'out_indices=(0, 1, 2, 3)'
        )
    return [y.shape[1] for y in outputs]


class BackboneFPN(BackboneWithFPN):
    """torchvision's ``BackboneWithFPN`` for a backbone that returns its maps itself.

    torchvision's own constructor extracts layers from a model whose children run in sequence;
    ours have a norm for each output, which would be lost.

    Args: see :func:`with_fpn`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        out_channels: int,
        extra_blocks: ExtraFPNBlock | None,
        norm_layer: Callable[..., nn.Module] | None,
    ) -> None:
        nn.Module.__init__(self)
        self.body = NamedMaps(backbone)
        self.fpn = FeaturePyramidNetwork(
            map_widths(backbone),
            out_channels,
            extra_blocks=extra_blocks or LastLevelMaxPool(),
            norm_layer=norm_layer,
        )
        self.out_channels = out_channels


def with_fpn(
    backbone: nn.Module,
    out_channels: int = 256,
    extra_blocks: ExtraFPNBlock | None = None,
    norm_layer: Callable[..., nn.Module] | None = None,
) -> BackboneFPN:
    """``backbone`` with a feature pyramid, for torchvision's detectors.

    >>> FasterRCNN(with_fpn(SELNeXt('tiny', out_indices=(0, 1, 2, 3))), num_classes=91)

    Args:
        backbone: with several ``out_indices``; its norms and frozen stages are its own arguments.
        out_channels: width of the pyramid.
        extra_blocks: levels above the last; None for max pooling, as in torchvision.
        norm_layer: norm of the pyramid's layers, None for none.

    Raises:
        UserError: for a backbone that returns vectors.
    """
    return BackboneFPN(backbone, out_channels, extra_blocks, norm_layer)
