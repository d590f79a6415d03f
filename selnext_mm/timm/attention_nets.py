"""NA-ResNet-50 and NA-MobileNetV2 in timm's registry: timm's networks with NA modules."""

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.efficientnet import EfficientNet, mobilenetv2_100
from timm.models.resnet import Bottleneck, ResNet
from torch import nn

from selnext_mm.models.attention.na import NAModule

from .backbone_nets import cfg
from .weights import na_mobilenetv2_weights, na_resnet_weights

__all__ = []  # filled by register_model

default_cfgs = generate_default_cfgs(
    {
        'na_resnet50': cfg('conv1', 'fc') | dict(interpolation='bilinear'),
        'na_mobilenetv2': cfg('conv_stem', 'classifier') | dict(interpolation='bilinear'),
    }
)


def na_layer(
    channels: int,
    device: torch.device | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> NAModule:
    """An NA module, built the way timm's networks build an attention layer."""
    return NAModule(channels, **kwargs).to(device, dtype)


@register_model
def na_resnet50(pretrained: bool = False, **kwargs: Any) -> ResNet:
    """timm's ResNet-50 with an NA module at the end of every branch, 25,557,064 parameters.

    The same network as :class:`NAResNet`; the module is ``layerS.B.se``, timm's name for this
    position. As in the authors' training, the last norms do not start at 0.
    """
    options = dict(block=Bottleneck, layers=(3, 4, 6, 3), block_args=dict(attn_layer=na_layer))
    return build_model_with_cfg(
        ResNet,
        'na_resnet50',
        pretrained,
        pretrained_filter_fn=na_resnet_weights,
        **(options | dict(zero_init_last=False) | kwargs),
    )


def _mobilenetv2(**kwargs: Any) -> EfficientNet:
    """timm's MobileNetV2 whose blocks' last norms are followed by NA modules.

    timm's norms include the activation after them. MobileNetV2's last norms have none, so the
    module takes its place: ``blocks.S.B.bn3.act`` (``bn2.act`` in the first block).
    """
    model = mobilenetv2_100(pretrained=False, **kwargs)
    for stage in model.blocks:
        for block in stage:
            norm = block.bn3 if hasattr(block, 'bn3') else block.bn2
            norm.act = na_layer(norm.num_features, norm.weight.device, norm.weight.dtype)
    return model


@register_model
def na_mobilenetv2(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """timm's MobileNetV2 with an NA module at the end of every branch, 3,504,906 parameters."""
    return build_model_with_cfg(
        _mobilenetv2,
        'na_mobilenetv2',
        pretrained,
        pretrained_filter_fn=na_mobilenetv2_weights,
        feature_cfg=dict(feature_cls='getter'),
        **kwargs,
    )
