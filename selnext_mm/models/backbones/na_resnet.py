"""NA-ResNet: mmdet's ResNet with an attention module at the end of every residual branch."""

from collections.abc import Sequence

from mmdet.models.backbones.resnet import BasicBlock, Bottleneck, ResNet
from mmengine.registry import MODELS
from torch import Tensor, nn

from selnext_mm.models.backbones.layers import CheckpointedOnce, checkpointed

from .base import CountedPretrained


class PluginBasicBlock(BasicBlock):
    """mmdet's basic block, which accepts no plugins itself, with plugins after its second norm.

    ``y = relu(shortcut(x) + plugins(norm2(conv2(relu(norm1(conv1(x)))))))``

    Shapes: (N, inplanes, H, W) -> (N, planes, H / stride, W / stride).

    Args:
        inplanes, planes, args, kwargs: as for mmdet's BasicBlock.
        plugins: dicts with the keys ``cfg`` and ``position``, which is 'after_conv2'.

    Raises:
        ValueError: for another position.
    """

    def __init__(
        self, inplanes: int, planes: int, *args, plugins: Sequence[dict] | None = None, **kwargs
    ) -> None:
        super().__init__(inplanes, planes, *args, **kwargs)
        plugins = plugins or ()
        for plugin in plugins:
            if plugin['position'] != 'after_conv2':
                raise ValueError(
                    f"plugin position {plugin['position']!r}; a basic block has 'after_conv2'"
                )
        cfgs = [plugin['cfg'] for plugin in plugins]
        self.after_conv2_plugin_names = Bottleneck.make_block_plugins(self, planes, cfgs)

    def _branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.norm2(self.conv2(x))
        for name in self.after_conv2_plugin_names:
            x = getattr(self, name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            out = checkpointed(self, self._branch, x)
        else:
            out = self._branch(x)
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)


class CheckpointedBottleneck(CheckpointedOnce, Bottleneck):
    """mmdet's bottleneck, whose ``with_cp`` updates running statistics once."""


class ConvBottleneck(CheckpointedBottleneck):
    """mmdet's bottleneck with another module in place of its 3x3 convolution, norm and ReLU.

    ``y = relu(shortcut(x) + plugins(norm3(conv3(module(relu(norm1(conv1(x))))))))``

    Shapes: (N, inplanes, H, W) -> (N, 4 * planes, H / stride, W / stride).

    Args:
        inplanes, planes, args, kwargs: as for mmdet's Bottleneck.
        conv2_cfg: the module, built with ``in_channels``, ``stride`` and ``dilation``; its output
            must not be negative, since the block's ReLU follows.
    """

    def __init__(self, inplanes: int, planes: int, *args, conv2_cfg: dict, **kwargs) -> None:
        super().__init__(inplanes, planes, *args, **kwargs)
        places = dict(in_channels=planes, stride=self.conv2_stride, dilation=self.dilation)
        self.conv2 = MODELS.build({**conv2_cfg, **places})
        setattr(self, self.norm2_name, nn.Identity())


class NAResNet(CountedPretrained, ResNet):
    """NA-ResNet for classification and detection: one NA module per block, two scalars each.

    The module comes after the last norm of a block's branch and before the shortcut is added,
    as ``layerS.B.na``. For depths 50, 101 and 152 this is mmdet's ResNet with the plugin
    ``dict(cfg=dict(type='NAModule'), position='after_conv3')``, tensor for tensor; mmdet's
    basic block takes no plugins, so depths 18 and 34 use :class:`PluginBasicBlock`.

    One class serves both tasks, so a classifier's checkpoint fits a detector as it is, with
    ``init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')``.

    Input (N, in_channels, H, W). Output: a tuple with one map per index of ``out_indices``, of
    stride 4, 8, 16, 32 and width 64, 128, 256, 512 times the block's expansion (1 or 4).

    Source: "Attention Meets Normalization and Beyond", section 5, and the published code for
    the position. Parameters with a 1000-class head: depth 18 11,689,528; depth 50 25,557,064.

    Args:
        depth: 18, 34, 50, 101 or 152.
        attention_cfg: the module, built with ``in_channels``; None leaves it out.
        plugins: more plugins in mmdet's format; at the same position they precede the attention.
        conv2_cfg: a module in place of each block's 3x3 convolution, norm and ReLU,
        for example ``dict(type='SelectiveKernel')``; see :class:`ConvBottleneck`.
        kwargs: as for mmdet's ResNet, whose defaults are a detector's: to train a classifier
            set ``norm_eval=False``, and ``zero_init_residual=False`` as the authors did.
        init_cfg: see :class:`CountedPretrained`.

    Raises:
        KeyError: for any other depth (mmdet's error).
        ValueError: with depths 18 and 34, for a plugin position that the basic block does not
        have, or for a ``conv2_cfg``.
        UserError: from ``init_weights()``, if too little of a checkpoint fits.
    """

    def __init__(
        self,
        depth: int,
        attention_cfg: dict | None = dict(type='NAModule'),  # noqa: B006 - never mutated
        plugins: Sequence[dict] | None = None,
        conv2_cfg: dict | None = None,
        init_cfg: dict | Sequence[dict] | None = None,
        **kwargs,
    ) -> None:
        self.conv2_cfg = conv2_cfg
        plugins = [dict(plugin) for plugin in plugins or ()]
        if attention_cfg is not None:
            basic = self.arch_settings.get(depth, (Bottleneck,))[0] is BasicBlock
            position = 'after_conv2' if basic else 'after_conv3'
            plugins.append(dict(cfg=dict(attention_cfg), position=position))
        super().__init__(depth, plugins=plugins or None, init_cfg=init_cfg, **kwargs)

    def make_res_layer(self, block: type[nn.Module], **kwargs) -> nn.Module:
        # Not in arch_settings, because mmdet's zero_init_residual checks for its own block classes.
        if block is BasicBlock:
            if self.conv2_cfg is not None:
                raise ValueError(
                    'conv2_cfg is for depths 50, 101 and 152: their blocks have one 3x3'
                )
            block = PluginBasicBlock
        elif self.conv2_cfg is not None:
            block = ConvBottleneck
            kwargs['conv2_cfg'] = dict(self.conv2_cfg)
        else:
            block = CheckpointedBottleneck
        return super().make_res_layer(block=block, **kwargs)

    def train(self, mode: bool = True) -> 'NAResNet':
        super().train(mode)
        return self
