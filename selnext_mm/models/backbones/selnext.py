"""SELNeXt: ConvNeXt whose block norm is replaced by SELN after the GELU."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from selnext_mm.framework import MODELS, ModuleList, Sequential
from selnext_mm.ops.packed import PackedOnce

from .base import Backbone, check_count, check_frozen_stages, normalize_out_indices, resolve_arch
from .layers import build_norm2d, drop_path_rates
from .selnext_block import SELNeXtBlock
from .selnext_fast import IMPLS, downsample, fused_norm, images_for_stem
from .selnext_graph import use_convolutions

# name -> (depths, channels). tiny, small and base are from the paper. The others ("ours": without
# published results) are ConvNeXt's sizes with our block; yocto is in no paper.
ARCHS = {
    'yocto': ((2, 2, 6, 2), (16, 32, 64, 128)),
    'atto': ((2, 2, 6, 2), (40, 80, 160, 320)),
    'femto': ((2, 2, 6, 2), (48, 96, 192, 384)),
    'pico': ((2, 2, 6, 2), (64, 128, 256, 512)),
    'nano': ((2, 2, 8, 2), (80, 160, 320, 640)),
    'tiny': ((3, 3, 9, 3), (96, 192, 384, 768)),
    'small': ((3, 3, 27, 3), (96, 192, 384, 768)),
    'base': ((3, 3, 27, 3), (128, 256, 512, 1024)),
    'large': ((3, 3, 27, 3), (192, 384, 768, 1536)),
}
PAPER_ARCHS = ('tiny', 'small', 'base')


@MODELS.register_module()
class SELNeXt(Backbone):
    """SELNeXt backbone for classification and detection.

    Argument, module and parameter names are those of mmpretrain's ConvNeXt. Stages above
    ``max(out_indices)`` are not built, so every parameter gets a gradient.

    Input (N, in_channels, H, W). Output: a tuple with one tensor per index of ``out_indices``,
    of stride 4, 8, 16, 32 and the stage's width: (N, C_i, H_i, W_i) for detection
    (``gap_before_final_norm=False``), each through its own norm, or (N, C_i) for classification
    (global mean, then norm).

    Source: "A Latency-Efficient Integration of Channel Attention for ConvNets", section 4 and
    Fig. 4. Parameters of the classifiers T / S / B: 35,126,656 / 62,140,480 / 109,715,208.

    Args:
        arch: 'tiny', 'small', 'base' (the paper's), 'yocto', 'atto', 'femto', 'pico', 'nano',
            'large' (ours), or ``dict(depths=..., channels=...)``.
        in_channels: channels of the input image.
        stem_patch_size: kernel and stride of the stem.
        norm_cfg: channels-first norm of stem, downsampling layers and outputs.
        act_cfg: activation of the blocks.
        linear_pw_conv: pointwise layers as linear layers (True) or 1x1 convolutions.
        attention_cfg: attention on the expanded channels; None leaves it out.
        block_norm_cfg: norm after the depth-wise convolution, None for SELNeXt. With
            ``dict(type='LN2d', eps=1e-6)`` and ``attention_cfg=None`` the model is ConvNeXt.
        mlp_ratio: expansion of the blocks.
        drop_path_rate: stochastic depth, rising linearly from 0 in the first block to this
            rate in the last one.
        layer_scale_init_value: initial layer scale; 0 or less removes it.
        out_indices: stage or stages to return, negative ones count from the end.
        frozen_stages: the first n stages with their downsampling layers are not trained.
        gap_before_final_norm: global mean before the output norm (classification). None means
            True for an integer ``out_indices`` and False for a sequence, which a detector gives.
        with_cp: activation checkpointing per block (non-reentrant).
        impl: 'auto' fuses where that gives the same result and is measured or predicted to be
            faster (``docs/performance.md``), 'fused' also where it is neither, 'reference' never.
        init_cfg: None for truncated normal with std 0.02; see :class:`Backbone` for
            pretrained weights.

    Raises:
        ValueError, TypeError: for arguments outside the choices, which the message names.
    """

    default_init = (
        dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0),
        dict(type='Constant', layer=['LayerNorm', 'LayerNorm2d'], val=1.0, bias=0.0),
    )
    new_in_detection = (r'norm\d+\.',)
    block_type = SELNeXtBlock

    def __init__(
        self,
        arch: str | dict = 'tiny',
        in_channels: int = 3,
        stem_patch_size: int = 4,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        linear_pw_conv: bool = True,
        attention_cfg: dict | None = dict(type='SELN', reduction=16),  # noqa: B006 - never mutated
        block_norm_cfg: dict | None = None,
        mlp_ratio: float = 4.0,
        drop_path_rate: float = 0.0,
        layer_scale_init_value: float = 1e-6,
        out_indices: int | Sequence[int] = -1,
        frozen_stages: int = 0,
        gap_before_final_norm: bool | None = None,
        with_cp: bool = False,
        impl: str = 'auto',
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.depths, self.channels = resolve_arch(arch, ARCHS)
        check_count('in_channels', in_channels)
        check_count('stem_patch_size', stem_patch_size)
        self.num_stages = len(self.depths)
        self.out_indices = normalize_out_indices(out_indices, self.num_stages)
        num_built = max(self.out_indices) + 1
        if impl not in IMPLS:
            raise ValueError(f'impl={impl!r}; expected one of {IMPLS}')
        self.frozen_stages = check_frozen_stages(frozen_stages, num_built)
        self.impl = impl
        if gap_before_final_norm is None:
            gap_before_final_norm = isinstance(out_indices, int)
        self.gap_before_final_norm = gap_before_final_norm
        norm_cfg = norm_cfg or dict(type='LN2d', eps=1e-6)

        rates = drop_path_rates(drop_path_rate, sum(self.depths))
        self.downsample_layers = ModuleList()
        self.stages = ModuleList()
        for i, (depth, width) in enumerate(zip(self.depths, self.channels, strict=True)):
            if i == num_built:
                break
            if i == 0:
                conv = nn.Conv2d(in_channels, width, stem_patch_size, stem_patch_size)
                self.downsample_layers.append(Sequential(conv, build_norm2d(norm_cfg, width)))
            else:
                norm = build_norm2d(norm_cfg, self.channels[i - 1])
                conv = nn.Conv2d(self.channels[i - 1], width, kernel_size=2, stride=2)
                self.downsample_layers.append(Sequential(norm, conv))
            first = sum(self.depths[:i])
            self.stages.append(
                Sequential(
                    *[
                        self.block_type(
                            width,
                            attention_cfg=attention_cfg,
                            block_norm_cfg=block_norm_cfg,
                            act_cfg=act_cfg,
                            mlp_ratio=mlp_ratio,
                            linear_pw_conv=linear_pw_conv,
                            drop_path_rate=rate,
                            layer_scale_init_value=layer_scale_init_value,
                            with_cp=with_cp,
                            impl=impl,
                        )
                        for rate in rates[first : first + depth]
                    ]
                )
            )
            if i in self.out_indices:
                self.add_module(f'norm{i}', build_norm2d(norm_cfg, width))
        self.freeze()

    def run_stage(self, i: int, x: Tensor) -> Tensor:
        """The map of stage ``i`` from the previous stage's map, or from the images for stage 0."""
        if i == 0:
            first = self.stages[0][0] if isinstance(self.stages[0], Sequential) else None
            if type(first) is SELNeXtBlock:
                x = images_for_stem(x, first)
        return self.stages[i](downsample(self.downsample_layers[i], i == 0, x, self.impl))

    def output(self, i: int, x: Tensor) -> Tensor:
        """What the backbone returns for stage ``i``, whose map is ``x``."""
        norm = getattr(self, f'norm{i}')
        if self.gap_before_final_norm:
            mean = x.mean((2, 3), keepdim=True, dtype=norm.weight.dtype)
            return norm(mean).flatten(1)
        rows = fused_norm(norm, x, self.impl)
        out = norm(x) if rows is None else rows.permute(0, 3, 1, 2)
        # mmcv's RoIAlign silently misreads channels-last tensors.
        return out.contiguous()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outs = []
        for i in range(len(self.stages)):
            x = self.run_stage(i, x)
            if i in self.out_indices:
                outs.append(self.output(i, x))
        return tuple(outs)

    def frozen_modules(self) -> list[nn.Module]:
        n = self.frozen_stages
        return [*self.downsample_layers[:n], *self.stages[:n]]

    def switch_to_deploy(self, dtype: torch.dtype | None = None) -> 'SELNeXt':
        """Put the model into eval mode for good and keep its weights packed for inference.

        Parameters and state dict stay as they are; weights loaded later are packed again. The
        copies take as much memory as the blocks' parameters. ``dtype``: see :meth:`compute_in`.
        """
        if dtype is not None:
            self.compute_in(dtype)
        for block in (block for stage in self.stages for block in stage):
            block.packed = PackedOnce()
        self.deployed = True
        return self.eval().requires_grad_(False)

    @torch.no_grad()
    def fold_layer_scale(self) -> int:
        """Multiply each ``gamma`` into the layer before it, for good; return their number.

        ``gamma * (W2 x + b2) = (gamma W2) x + gamma b2`` in float64, rounded once. Skips blocks
        that have been modified. For graphs of single operators (``selnext-mm export``): the state
        dict loses its ``gamma`` keys.
        """
        count = 0
        for block in (block for stage in self.stages for block in stage):
            layer, ours = block.pointwise_conv2, type(block)._branch is SELNeXtBlock._branch
            if block.gamma is not None and ours and type(layer) in (nn.Linear, nn.Conv2d):
                for weights in layer.parameters():
                    gamma = block.gamma.double().view(-1, *[1] * (weights.dim() - 1))
                    weights.copy_(weights.double() * gamma)
                block.gamma, count = None, count + 1
        return count

    def use_convolutions(self, scale_weights: bool = False) -> int:
        """Turn linear layers of blocks with attention into 1x1 convolutions, for good.

        For graphs of single operators (``selnext-mm export``), which other programs then run
        faster. The state dict changes. With ``scale_weights``, the gate multiplies the second
        layer's weights in the stages whose maps have more positions than channels, for images of
        224x224 in a classifier and 800x800 in a detector. Skips blocks that have been modified.

        Returns:
            The number of blocks that were rewritten.
        """
        count, side = 0, 224 if self.gap_before_final_norm else 800
        side //= self.downsample_layers[0][0].stride[0]
        for i, stage in enumerate(self.stages):
            large = scale_weights and (side >> i) ** 2 > self.channels[i]
            count += sum(use_convolutions(block, large) for block in stage)
        return count

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return (layer id, number of ids) of a parameter for layer-wise lr decay.

        ConvNeXt's published grouping, n = 12 if the third stage has more than 9 blocks, else
        6: stem 0; first stage 1; second downsampling and stage 2; third downsampling 3; block j
        of the third stage 3 + j // 3; fourth downsampling and stage n; all others (output
        norms, neck, heads) n + 1.
        """
        last = 12 if max(self.depths[2:3], default=0) > 9 else 6
        parts = param_name[len(prefix) :].split('.') if param_name.startswith(prefix) else ['']
        if parts[0] == 'downsample_layers':
            layer_id = {0: 0, 1: 2, 2: 3}.get(int(parts[1]), last)
        elif parts[0] == 'stages':
            stage, block = int(parts[1]), int(parts[2])
            layer_id = {0: 1, 1: 2, 2: min(3 + block // 3, last)}.get(stage, last)
        else:
            layer_id = last + 1
        return layer_id, last + 2
