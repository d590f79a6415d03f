"""MobileNetV3-Large with a choice of channel attention, and stochastic depth.

mmpretrain's ``MobileNetV3`` is the same network but cannot serve as the base class: it has no
stochastic depth, takes no attention but SE, its ``train()`` returns None, its checkpointing is
reentrant, and MMDetection users need not have mmpretrain. A test compares the two with the same
weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selnext_mm.framework import MODELS, BaseModule, ModuleList, Sequential
from selnext_mm.models.attention.base import make_divisible
from selnext_mm.models.backbones.layers import checkpointed
from selnext_mm.ops.packed import PackedOnce

from .base import Backbone, check_frozen_stages, normalize_out_indices
from .conv_norm import ConvNorm
from .layers import DropPath

# (kernel, expanded width, output width, attention, activation, stride) of the blocks of each
# stage. A new stage begins at each stride of 2; the first stage has the blocks of strides 2 and 4.
ARCHS = {
    'large': (
        (
            (3, 16, 16, False, 'ReLU', 1),
            (3, 64, 24, False, 'ReLU', 2),
            (3, 72, 24, False, 'ReLU', 1),
        ),
        (
            (5, 72, 40, True, 'ReLU', 2),
            (5, 120, 40, True, 'ReLU', 1),
            (5, 120, 40, True, 'ReLU', 1),
        ),
        (
            (3, 240, 80, False, 'Hardswish', 2),
            (3, 200, 80, False, 'Hardswish', 1),
            (3, 184, 80, False, 'Hardswish', 1),
            (3, 184, 80, False, 'Hardswish', 1),
            (3, 480, 112, True, 'Hardswish', 1),
            (3, 672, 112, True, 'Hardswish', 1),
        ),
        (
            (5, 672, 160, True, 'Hardswish', 2),
            (5, 960, 160, True, 'Hardswish', 1),
            (5, 960, 160, True, 'Hardswish', 1),
        ),
    ),
}
STEM_WIDTH = 16
DEFAULT_ATTENTION = dict(type='SqueezeExcitation', reduction=4, divisor=8, gate='hard-sigmoid')


class InvertedResidual(BaseModule):
    """Expand, filter depth-wise, rescale by the attention, project; shortcut where shapes allow.

    ``y = project(attention(depthwise(expand(x))))``, plus x if the stride is 1 and the widths are
    equal. Each part is a convolution and a batch norm; expand and depthwise end in an activation.

    Shapes: (N, in_channels, H, W) -> (N, out_channels, H / stride, W / stride), rounded up.

    Args:
        in_channels: width of the input.
        expanded: width of the depth-wise convolution; no expansion if it equals ``in_channels``.
        out_channels: width of the output.
        kernel: side of the depth-wise kernel.
        stride: 1 or 2.
        activation: a class of torch.nn.
        norm_cfg: batch norm.
        attention_cfg: attention on the expanded channels, or None for none.
        drop_path_rate: stochastic-depth rate; without effect where there is no shortcut.
        with_cp: recompute the block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        kernel: int,
        stride: int,
        activation: str,
        norm_cfg: dict,
        attention_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.expand = None
        if expanded != in_channels:
            self.expand = ConvNorm(in_channels, expanded, 1, norm_cfg, activation=activation)
        self.depthwise = ConvNorm(
            expanded, expanded, kernel, norm_cfg, stride, groups=expanded, activation=activation
        )
        self.attention = None
        if attention_cfg is not None:
            self.attention = MODELS.build(
                dict(attention_cfg, in_channels=expanded, data_format='channels_first')
            )
        self.project = ConvNorm(expanded, out_channels, 1, norm_cfg)
        self.drop_path = nn.Identity()
        if self.has_shortcut and drop_path_rate > 0:
            self.drop_path = DropPath(drop_path_rate)

    def _branch(self, x: Tensor) -> Tensor:
        if self.expand is not None:
            x = self.expand(x)
        x = self.depthwise(x)
        if self.attention is not None:
            x = self.attention(x)
        return self.drop_path(self.project(x))

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            y = checkpointed(self, self._branch, x)
        else:
            y = self._branch(x)
        return x + y if self.has_shortcut else y


@MODELS.register_module()
class AttentionMobileNetV3(Backbone):
    """MobileNetV3-Large whose SE can be replaced, for classification and detection.

    The attention takes the place of SE: after the norm and activation of the depth-wise convolution
    in blocks 3 to 5 and 10 to 14 of 0..14. The last convolution, 160 to 960 channels, closes the
    last stage, as in timm.

    Input (N, in_channels, H, W). Output: a tuple with one map per index of ``out_indices``, of
    stride 4, 8, 16, 32 (sizes rounded up) and 24, 40, 112, 960 channels.

    Source: "Searching for MobileNetV3", Table 1; stochastic depth as in timm, whose model is the
    baseline of "A Latency-Efficient Integration of Channel Attention for ConvNets" (5,483,032
    parameters with its classifier).

    Args:
        arch: 'large'.
        in_channels: channels of the input image.
        width_mult: factor on all widths, which are rounded to multiples of 8.
        attention_cfg: attention in place of SE, None for none; by default MobileNetV3's SE.
        norm_cfg: batch norm; eps 1e-5 and momentum 0.1 as in timm, where mmpretrain has 1e-3
            and 0.01.
        drop_path_rate: stochastic depth; block i of 15 has ``rate * i / 16``, timm's rule,
            which counts the last convolution as a sixteenth block. Only blocks with a shortcut
            are dropped.
        out_indices: stage or stages to return, negative ones count from the end.
        frozen_stages: the first n stages (the stem belongs to the first) are not trained; their
        batch norms use their running statistics.
        norm_eval: all batch norms use their running statistics in training, too.
        with_cp: activation checkpointing per block (non-reentrant).
        init_cfg: None for truncated normal with std 0.02 (Table 1 prints 0.2, as ConvNeXt's
            table does for 0.02); see :class:`Backbone` for pretrained weights.

    Raises:
        ValueError, TypeError: for arguments outside the choices, which the message names.
    """

    default_init = (
        dict(type='TruncNormal', layer=['Conv2d', 'Conv1d', 'Linear'], std=0.02, bias=0.0),
        dict(type='Constant', layer=['_BatchNorm', 'LayerNorm'], val=1.0, bias=0.0),
    )

    def __init__(
        self,
        arch: str = 'large',
        in_channels: int = 3,
        width_mult: float = 1.0,
        attention_cfg: dict | None = DEFAULT_ATTENTION,
        norm_cfg: dict | None = None,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if arch not in ARCHS:
            raise ValueError(f'arch={arch!r}; expected one of {sorted(ARCHS)}')
        if width_mult <= 0:
            raise ValueError(f'width_mult={width_mult!r}; expected a positive number')
        stages = ARCHS[arch]
        self.out_indices = normalize_out_indices(out_indices, len(stages))
        num_built = max(self.out_indices) + 1
        self.frozen_stages = check_frozen_stages(frozen_stages, num_built)
        self.norm_eval = norm_eval
        norm_cfg = norm_cfg or dict(type='BN')

        num_blocks = sum(map(len, stages))
        width = make_divisible(STEM_WIDTH * width_mult)
        self.stem = ConvNorm(in_channels, width, 3, norm_cfg, stride=2, activation='Hardswish')
        self.stages = ModuleList()
        index = 0
        for number, settings in enumerate(stages[:num_built]):
            blocks = []
            for kernel, expanded, out, with_attention, activation, stride in settings:
                expanded, out = (make_divisible(w * width_mult) for w in (expanded, out))
                blocks.append(
                    InvertedResidual(
                        width,
                        expanded,
                        out,
                        kernel,
                        stride,
                        activation,
                        norm_cfg,
                        attention_cfg=attention_cfg if with_attention else None,
                        drop_path_rate=drop_path_rate * index / (num_blocks + 1),
                        with_cp=with_cp,
                    )
                )
                width = out
                index += 1
            if number == len(stages) - 1:
                blocks.append(ConvNorm(width, expanded, 1, norm_cfg, activation='Hardswish'))
            self.stages.append(Sequential(*blocks))
        self.freeze()

    def run_stage(self, i: int, x: Tensor) -> Tensor:
        """The map of stage ``i`` from the previous stage's map, or from the images for stage 0."""
        if i == 0:
            if self.deployed:
                x = x.contiguous(memory_format=torch.channels_last)
            x = self.stem(x)
        return self.stages[i](x)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outs = []
        for i in range(len(self.stages)):
            x = self.run_stage(i, x)
            if i in self.out_indices:
                # mmcv's RoIAlign silently misreads other memory layouts.
                outs.append(x.contiguous() if self.deployed else x)
        return tuple(outs)

    def frozen_modules(self) -> list[nn.Module]:
        n = self.frozen_stages
        return [self.stem, *self.stages[:n]] if n else []

    def switch_to_deploy(self) -> 'AttentionMobileNetV3':
        """Put the model into eval mode for good and merge its batch norms, channels-last.

        Each norm is merged into a copy of the weights of the convolution before it. Parameters,
        buffers and state dict stay as they are; weights loaded later are merged again.
        """
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.packed = PackedOnce()
        self.deployed = True
        return self.eval().requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return (layer id, number of ids): stem 0, stage i 1 + i, all others 5 (ours)."""
        parts = param_name[len(prefix) :].split('.') if param_name.startswith(prefix) else ['']
        layer_id = {'stem': 0, 'stages': 1}.get(parts[0], 5)
        if parts[0] == 'stages':
            layer_id += int(parts[1])
        return layer_id, 6
