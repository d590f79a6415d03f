"""Layers between a backbone and a classification head."""

from torch import Tensor, nn

from selnext_mm.framework import MODELS, BaseModule
from selnext_mm.models.backbones.layers import build_activation


@MODELS.register_module()
class PooledProjection(BaseModule):
    """``act(W mean_hw(x))``: global average pool, 1x1 convolution without bias, activation.

    The first half of PATNet's classifier ("Partial Convolution Meets Visual Attention",
    Table 6); there is no norm. A linear head follows.

    Shapes: a tuple of maps, the last (N, C, H, W) -> a tuple of one (N, out_channels).

    Args:
        in_channels: channels of the last map.
        out_channels: number of features.
        act_cfg: activation.
        init_cfg: None for truncated normal with std 0.02.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1280,
        act_cfg: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.02))
        self.out_channels = out_channels
        self.conv = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.act = build_activation(act_cfg or dict(type='ReLU'))

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> tuple[Tensor]:
        x = x[-1] if isinstance(x, tuple | list) else x
        return (self.act(self.conv(x.mean((2, 3), keepdim=True))).flatten(1),)
