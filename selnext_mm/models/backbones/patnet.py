"""PATNet: partial convolution with partial channel, spatial and self-attention."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from selnext_mm.framework import MODELS, BaseModule, ModuleList, Sequential
from selnext_mm.models.attention.patnet_gates import MeanStdGate

from .base import (
    Backbone,
    check_count,
    check_frozen_stages,
    expanded_width,
    normalize_out_indices,
    resolve_arch,
)
from .layers import DropPath, build_activation, checkpointed, drop_path_rates
from .patnet_deploy import fold_patnet


class Arch(NamedTuple):
    """Depths and widths of the four stages, heads of PAT_sf and the activation."""

    depths: tuple[int, ...]
    channels: tuple[int, ...]
    num_heads: int = 6
    act: str = 'ReLU'


def _doubling(width: int) -> tuple[int, ...]:
    return tuple(width * 2**i for i in range(4))


# Table 6; the heads are not printed, and 4 and 6 both round to its counts (docs/patnet.md).
ARCHS = {
    't0': Arch((1, 2, 6, 4), _doubling(32), 4, 'GELU'),
    't1': Arch((2, 2, 6, 4), _doubling(48), 6, 'GELU'),
    't2': Arch((2, 2, 6, 4), _doubling(64)),
    's': Arch((2, 2, 9, 4), _doubling(96)),
    'm': Arch((2, 3, 16, 4), _doubling(128)),
    'l': Arch((2, 3, 20, 4), _doubling(160)),
}


class PATNetBlock(BaseModule):
    """One block: a token mixer, then an MLP that ends in PAT_sp.

    ``y = x + drop_path(MLP(mixer(x)))``, the published "v1" of stages 1 to 3, or, with
    ``mixer_shortcut``, ``z = x + mixer(x); y = z + drop_path(MLP(z))``, the "v2" of stage 4.
    ``MLP(u) = PAT_sp(W2 act(BN(W1 u)))`` with 1x1 convolutions C -> 2C -> C without bias.

    Shapes: (N, C, H, W) -> (N, C, H, W).

    Args:
        in_channels: width C.
        mixer_cfg: the mixer, a module of :mod:`selnext_mm.models.attention.partial`.
        spatial_cfg: attention at the end of the MLP, or None for none.
        act_cfg: activation.
        mlp_ratio: expansion of the MLP.
        mixer_shortcut: see above.
        drop_path_rate: stochastic-depth rate of this block.
        with_cp: recompute the block in the backward pass instead of keeping its activations.
    """

    def __init__(
        self,
        in_channels: int,
        mixer_cfg: dict,
        spatial_cfg: dict | None,
        act_cfg: dict,
        mlp_ratio: float = 2.0,
        mixer_shortcut: bool = False,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        hidden = expanded_width(in_channels, mlp_ratio)
        self.mixer_shortcut = mixer_shortcut
        self.with_cp = with_cp
        self.mixer = MODELS.build(dict(mixer_cfg, in_channels=in_channels))
        self.expand = nn.Conv2d(in_channels, hidden, 1, bias=False)
        self.norm = nn.BatchNorm2d(hidden)
        self.act = build_activation(act_cfg)
        self.reduce = nn.Conv2d(hidden, in_channels, 1, bias=False)
        self.spatial = nn.Identity()
        if spatial_cfg is not None:
            self.spatial = MODELS.build(dict(spatial_cfg, in_channels=in_channels))
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate > 0 else nn.Identity()

    def _forward(self, x: Tensor) -> Tensor:
        mixed = self.mixer(x)
        if self.mixer_shortcut:
            x = mixed = x + mixed
        hidden = self.act(self.norm(self.expand(mixed)))
        return x + self.drop_path(self.spatial(self.reduce(hidden)))

    def forward(self, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpointed(self, self._forward, x)
        return self._forward(x)


@MODELS.register_module()
class PATNet(Backbone):
    """PATNet backbone for classification and detection.

    Stem: 4x4 convolution of stride 4 and BN; before each further stage: 2x2 convolution of
    stride 2 and BN. Stages 1 to 3 mix by PAT_ch, stage 4 by PAT_sf; all of them end in PAT_sp.
    Stages above ``max(out_indices)`` are not built, so every parameter gets a gradient.

    Input (N, in_channels, H, W), at least 32 pixels per side. Output: a tuple with one map (N, C_i,
    H_i, W_i) per index of ``out_indices``, of stride 4, 8, 16, 32. For detection each goes through
    its own BN, and the next stage gets the map without it; for classification the last map is
    returned as it is, and the neck :class:`PooledProjection` makes the 1280 features of the
    classifier.

    Source: "Partial Convolution Meets Visual Attention", section 3 and Table 6, in the
    configuration that has the printed number of parameters (docs/patnet.md). Parameters of the
    classifiers T0 / T1 / T2 / S / M / L: 4,292,072 / 7,808,112 / 12,651,072 / 28,976,352 /
    61,367,424 / 104,465,984.

    Args:
        arch: 't0', 't1', 't2', 's', 'm', 'l', or ``dict(depths=..., channels=...)``.
        in_channels: channels of the input image.
        mixer_cfg: mixer of stages 1 to 3, and of stage 4 if ``last_mixer_cfg`` is None.
        last_mixer_cfg: mixer of stage 4, whose blocks then have a shortcut around it.
        spatial_cfg: attention at the end of each MLP; None leaves it out.
        num_heads: heads of PAT_sf; None for the arch's (4 in T0, else 6: our choice, since the
        paper does not print it; the published configs have 4).
        act_cfg: activation; None for the arch's (GELU in T0 and T1, else ReLU).
        mlp_ratio: expansion of the blocks.
        drop_path_rate: stochastic depth, rising linearly from 0 in the first block to this
            rate in the last one.
        out_indices: stage or stages to return, negative ones count from the end.
        output_norm: a BN per output; None means only if ``out_indices`` names several stages.
        frozen_stages: the first n stages with their downsampling layers are not trained.
        norm_eval: all batch norms use their running statistics in training; their scales and
            shifts are trained.
        gate_norm_eval: the same for the norms inside the channel gates only, which see one
        value per image. Use it with one or two images per device.
        with_cp: activation checkpointing per block (non-reentrant).
        init_cfg: None for truncated normal with std 0.02; see :class:`Backbone` for
            pretrained weights.

    Raises:
        ValueError, TypeError: for arguments outside the choices, which the message names.
    """

    default_init = (dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0),)
    deployed_words = (
        'deployed, its batch norms merged into its convolutions,',
        'the trained checkpoint',
    )
    new_in_detection = (r'norm\d+\.',)
    block_type = PATNetBlock

    def __init__(
        self,
        arch: str | dict = 't2',
        in_channels: int = 3,
        mixer_cfg: dict = dict(type='PartialChannelAttention'),  # noqa: B006 - never mutated
        last_mixer_cfg: dict | None = dict(type='PartialSelfAttention'),  # noqa: B006
        spatial_cfg: dict | None = dict(type='PartialSpatialAttention'),  # noqa: B006
        num_heads: int | None = None,
        act_cfg: dict | None = None,
        mlp_ratio: float = 2.0,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = -1,
        output_norm: bool | None = None,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        gate_norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        settings = Arch(*resolve_arch(arch, ARCHS, num_stages=4))
        self.depths, self.channels = settings.depths, settings.channels
        check_count('in_channels', in_channels)
        self.out_indices = normalize_out_indices(out_indices, 4)
        num_built = max(self.out_indices) + 1
        self.frozen_stages = check_frozen_stages(frozen_stages, num_built)
        self.output_norm = len(self.out_indices) > 1 if output_norm is None else output_norm
        self.norm_eval = norm_eval
        self.gate_norm_eval = gate_norm_eval
        if last_mixer_cfg and last_mixer_cfg.get('type') == 'PartialSelfAttention':
            last_mixer_cfg = dict(num_heads=num_heads or settings.num_heads) | dict(last_mixer_cfg)

        rates = drop_path_rates(drop_path_rate, sum(self.depths))
        self.downsample_layers = ModuleList()
        self.stages = ModuleList()
        for i in range(num_built):
            width, depth, first = self.channels[i], self.depths[i], sum(self.depths[:i])
            before, patch = (in_channels, 4) if i == 0 else (self.channels[i - 1], 2)
            conv = nn.Conv2d(before, width, patch, patch, bias=False)
            self.downsample_layers.append(Sequential(conv, nn.BatchNorm2d(width)))
            last = i == 3 and last_mixer_cfg is not None
            blocks = [
                self.block_type(
                    width,
                    mixer_cfg=last_mixer_cfg if last else mixer_cfg,
                    spatial_cfg=spatial_cfg,
                    act_cfg=act_cfg or dict(type=settings.act),
                    mlp_ratio=mlp_ratio,
                    mixer_shortcut=last,
                    drop_path_rate=rate,
                    with_cp=with_cp,
                )
                for rate in rates[first : first + depth]
            ]
            self.stages.append(Sequential(*blocks))
            if i in self.out_indices and self.output_norm:
                self.add_module(f'norm{i}', nn.BatchNorm2d(width))
        self.train()

    def run_stage(self, i: int, x: Tensor) -> Tensor:
        """The map of stage ``i`` from the previous stage's map, or from the images for stage 0."""
        return self.stages[i](self.downsample_layers[i](x))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outs = []
        for i in range(len(self.stages)):
            x = self.run_stage(i, x)
            if i in self.out_indices:
                outs.append(getattr(self, f'norm{i}')(x) if self.output_norm else x)
        return tuple(outs)

    def frozen_modules(self) -> list[nn.Module]:
        n = self.frozen_stages
        return [*self.downsample_layers[:n], *self.stages[:n]]

    def train(self, mode: bool = True) -> 'PATNet':
        """Set the mode; norms that use running statistics stay in eval mode.

        Raises:
            RuntimeError: for ``mode=True`` on a deployed model, whose norms are gone.
        """
        super().train(mode)
        if mode and self.gate_norm_eval:
            for module in self.modules():
                if isinstance(module, MeanStdGate):
                    module.norm.eval()
        return self

    def switch_to_deploy(self, fold: str = 'all') -> 'PATNet':
        """Put the model into eval mode and merge its linear parts, exactly and for good.

        ``fold='all'``: the batch norms of stem, downsampling layers, expansions and channel
        gates, the norm after a channel gate, and PAT_sp, which becomes one more output of the
        1x1 convolution before it. ``'conv_bn'``: only norms right after a convolution,
        the form whose parameters the paper counts. Output norms stay.

        Returns the model; a second call changes nothing.
        """
        if not self.deployed:
            self.eval()
            fold_patnet(self, fold)
            self.deployed = True
            self.requires_grad_(False)
        return self

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return (layer id, number of ids) of a parameter for layer-wise lr decay.

        The grouping is ours, as the paper uses no layer-wise decay: stem 0; stage i, with the
        downsampling before it, i; all others (output norms, neck, heads) 5.
        """
        parts = param_name[len(prefix) :].split('.') if param_name.startswith(prefix) else ['']
        if parts[0] == 'downsample_layers':
            layer_id = 0 if parts[1] == '0' else int(parts[1]) + 1
        elif parts[0] == 'stages':
            layer_id = int(parts[1]) + 1
        else:
            layer_id = 5
        return layer_id, 6
