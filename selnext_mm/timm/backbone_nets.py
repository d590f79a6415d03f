"""SELNeXt, PATNet and MobileNetV3-Large with SELN in timm's registry."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from selnext_mm.models.backbones.mobilenet_v3 import AttentionMobileNetV3
from selnext_mm.models.backbones.patnet import ARCHS as PATNETS
from selnext_mm.models.backbones.patnet import PATNet
from selnext_mm.models.backbones.selnext import ARCHS, SELNeXt
from selnext_mm.models.necks import PooledProjection

from .classifier import Classifier, LinearHead, StackedHead
from .weights import classifier_weights

__all__ = []  # filled by register_model


def cfg(first_conv: str, classifier: str = LinearHead.classifier, **options: Any) -> dict:
    """timm's settings of a model without weights: 224 pixels, ImageNet's statistics."""
    return dict(
        url='',
        num_classes=1000,
        input_size=(3, 224, 224),
        pool_size=(7, 7),
        crop_pct=0.875,
        interpolation='bicubic',
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv=first_conv,
        classifier=classifier,
        license='apache-2.0',
        **options,
    )


class TimmSELNeXt(Classifier):
    """SELNeXt for timm: global mean, norm, linear head.

    Args:
        arch: as for :class:`SELNeXt`.
        in_chans, num_classes, global_pool, drop_rate: timm's.
        kwargs: arguments of :class:`SELNeXt` (``drop_path_rate``, ``attention_cfg``, ...).
    """

    def __init__(
        self,
        arch: str | dict,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        backbone = SELNeXt(arch, in_channels=in_chans, **kwargs)
        head = LinearHead(backbone.channels[-1], num_classes, drop_rate)
        super().__init__(
            *(backbone, backbone.channels, head, None), num_classes, in_chans, global_pool
        )

    def _set_classes(self, num_classes: int, global_pool: str) -> None:
        super()._set_classes(num_classes, global_pool)
        self.backbone.gap_before_final_norm = bool(global_pool)

    def pooled(self, x: Tensor) -> Tensor:
        if not hasattr(self.backbone, self.norm_name):  # pruned
            return super().pooled(x)
        return self.backbone.output(len(self.backbone.stages) - 1, x)

    def final_map(self, x: Tensor) -> Tensor:
        return getattr(self.backbone, self.norm_name, nn.Identity())(x)

    def prune_norm(self) -> None:
        delattr(self.backbone, self.norm_name)

    @property
    def norm_name(self) -> str:
        """The backbone's name for the norm of its last map."""
        return f'norm{len(self.backbone.stages) - 1}'


class TimmPATNet(Classifier):
    """PATNet for timm: global mean, 1x1 convolution to 1280 features, linear head.

    Args: as for :class:`TimmSELNeXt`; ``kwargs`` are those of :class:`PATNet`.
    """

    def __init__(
        self,
        arch: str | dict,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        backbone = PATNet(arch, in_channels=in_chans, **kwargs)
        width = backbone.channels[-1]
        act = PATNETS[arch].act if isinstance(arch, str) else 'ReLU'
        neck = PooledProjection(width, act_cfg=dict(type=act))
        head = LinearHead(neck.conv.out_channels, num_classes, drop_rate)
        super().__init__(
            *(backbone, backbone.channels, head, neck), num_classes, in_chans, global_pool
        )


class TimmMobileNetV3(Classifier):
    """MobileNetV3-Large for timm, with any attention module; by default SELN.

    Args: as for :class:`TimmSELNeXt`; ``kwargs`` are those of :class:`AttentionMobileNetV3`.
    """

    def __init__(
        self,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        attention_cfg: dict | None = dict(type='SELN', reduction=4, divisor=8),  # noqa: B006
        **kwargs: Any,
    ) -> None:
        backbone = AttentionMobileNetV3(in_channels=in_chans, attention_cfg=attention_cfg, **kwargs)
        channels = [stage_width(stage) for stage in backbone.stages]
        head = StackedHead(channels[-1], num_classes, drop_rate)
        super().__init__(*(backbone, channels, head, None), num_classes, in_chans, global_pool)


def stage_width(stage) -> int:
    """Channels of the map that a stage of MobileNetV3 returns."""
    last = stage[-1]
    return (last.project if hasattr(last, 'project') else last)[0].out_channels


default_cfgs = generate_default_cfgs(
    {
        **{f'selnext_{arch}': cfg('backbone.downsample_layers.0.0') for arch in ARCHS},
        **{
            f'patnet_{arch}': cfg('backbone.downsample_layers.0.0') | dict(crop_pct=0.9)
            for arch in PATNETS
        },
        'mobilenetv3_large_seln': cfg('backbone.stem.0', StackedHead.classifier),
    }
)


def _placed(model_cls: type[Classifier]) -> Callable[..., Classifier]:
    """``model_cls`` with timm's arguments ``device`` and ``dtype``."""

    def build(
        device: torch.device | str | None = None, dtype: torch.dtype | None = None, **kwargs: Any
    ) -> Classifier:
        with nullcontext() if device is None else torch.device(device):
            return model_cls(**kwargs).to(dtype=dtype)

    return build


def _create(
    model_cls: type[Classifier], variant: str, pretrained: bool, **kwargs: Any
) -> Classifier:
    return build_model_with_cfg(
        _placed(model_cls),
        variant,
        pretrained,
        pretrained_filter_fn=classifier_weights,
        feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls='getter'),
        **kwargs,
    )


def _register(model_cls: type[Classifier], variant: str, **fixed: Any) -> None:
    """Register ``variant`` with timm, and add its function to this module."""

    def build(pretrained: bool = False, **kwargs: Any) -> Classifier:
        return _create(model_cls, variant, pretrained, **fixed, **kwargs)

    build.__name__ = build.__qualname__ = variant
    build.__doc__ = f'``timm.create_model({variant!r})``, a :class:`{model_cls.__name__}`.'
    globals()[variant] = register_model(build)


for _arch in ARCHS:
    _register(TimmSELNeXt, f'selnext_{_arch}', arch=_arch)
for _arch in PATNETS:
    _register(TimmPATNet, f'patnet_{_arch}', arch=_arch)
_register(TimmMobileNetV3, 'mobilenetv3_large_seln')
