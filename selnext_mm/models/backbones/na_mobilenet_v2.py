"""NA-MobileNetV2: mmpretrain's MobileNetV2 with attention at the end of every residual branch."""

from collections.abc import Sequence

from mmpretrain.models.backbones.mobilenet_v2 import InvertedResidual, MobileNetV2
from torch import nn

from selnext_mm.framework import MODELS

from .base import CountedPretrained
from .layers import CheckpointedOnce


class CheckpointedResidual(CheckpointedOnce, InvertedResidual):
    """mmpretrain's inverted residual, whose ``with_cp`` updates running statistics once."""


class NAMobileNetV2(CountedPretrained, MobileNetV2):
    """NA-MobileNetV2: one NA module after the last norm of each of the 17 inverted residuals.

    The module is the last layer of a block's ``conv``, ``layerS.B.conv.na``, so it comes before
    the shortcut where there is one. Stem and last convolution have none.

    Input (N, 3, H, W). Output: a tuple with one map per index of ``out_indices``; 0 to 6 are the
    seven stages, of stride 2, 4, 8, 16, 16, 32, 32, and 7 the last convolution (1280 channels).

    Source: "Attention Meets Normalization and Beyond", Table 1, and the published code for the
    position. Parameters with a 1000-class head: 3,504,906.

    Args:
        args, kwargs: as for mmpretrain's MobileNetV2.
        attention_cfg: the module, built with ``in_channels``; None leaves it out.
        init_cfg: see :class:`CountedPretrained`.

    Raises:
        ValueError: for indices that mmpretrain's MobileNetV2 does not have.
        UserError: from ``init_weights()``, if too little of a checkpoint fits.
    """

    def __init__(
        self,
        *args,
        attention_cfg: dict | None = dict(type='NAModule'),  # noqa: B006 - never mutated
        init_cfg: dict | Sequence[dict] | None = None,
        **kwargs,
    ) -> None:
        self.attention_cfg = attention_cfg
        super().__init__(*args, init_cfg=init_cfg, **kwargs)

    def make_layer(self, out_channels: int, **kwargs) -> nn.Sequential:
        blocks = super().make_layer(out_channels=out_channels, **kwargs)
        for block in blocks:
            block.__class__ = CheckpointedResidual  # make_layer takes no block class
        if self.attention_cfg is not None:
            for block in blocks:
                attention = MODELS.build(dict(self.attention_cfg, in_channels=out_channels))
                block.conv.add_module('na', attention)
        return blocks

    def train(self, mode: bool = True) -> 'NAMobileNetV2':
        super().train(mode)
        return self
