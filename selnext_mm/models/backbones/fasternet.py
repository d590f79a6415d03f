"""FasterNet, PATNet's baseline: timm's network behind the interface of an OpenMMLab backbone."""

from collections.abc import Sequence

from torch import Tensor, nn

from selnext_mm.errors import UserError
from selnext_mm.framework import MODELS

from .base import Backbone, check_count, check_frozen_stages, normalize_out_indices
from .layers import check_drop_path, checkpointed

ARCHS = ('t0', 't1', 't2', 's', 'm', 'l')


def build_timm_fasternet(arch: str | dict, in_channels: int, drop_path_rate: float) -> nn.Module:
    """timm's FasterNet of ``arch``, including its classifier.

    Raises:
        ValueError: for an unknown name or other keys.
        UserError: if timm is not installed, or too old to have FasterNet.
    """
    if isinstance(arch, str) and arch not in ARCHS:
        raise ValueError(f'arch={arch!r}; expected one of {list(ARCHS)} or a dict')
    if not isinstance(arch, str) and set(arch) != {'depths', 'embed_dim'}:
        raise ValueError(f"arch={arch!r}; expected a dict with the keys 'depths' and 'embed_dim'")
    try:
        from timm.models import fasternet
    except ImportError as error:
        raise UserError(
            f'FasterNet comes from timm >= 1.0.17, which cannot be imported here ({error}); '
            "pip install 'timm>=1.0.17', or install this package with its extra [timm]"
        ) from error
    options = dict(in_chans=in_channels, drop_path_rate=check_drop_path(drop_path_rate))
    if isinstance(arch, dict):
        return fasternet.FasterNet(**arch, **options)
    return getattr(fasternet, f'fasternet_{arch}')(**options)


@MODELS.register_module()
class FasterNet(Backbone):
    """FasterNet backbone for classification and detection, built from timm's modules.

    Stem: 4x4 convolution of stride 4 and BN; each further stage begins with a 2x2 convolution of
    stride 2 and BN. Block: ``y = x + drop_path(W2 act(BN(W1 cat(conv3x3(x1), x2))))`` with x1 the
    first quarter of the channels. Stages above ``max(out_indices)`` are dropped.

    Input (N, in_channels, H, W), sides from 32 on. Output: a tuple with one map (N, C_i, H_i,
    W_i) per index of ``out_indices``, of stride 4, 8, 16, 32 and 1, 2, 4, 8 times the first
    width. For detection each map is returned through its own BN; the next stage gets it without.
    For classification the last map is returned as it is, and the neck :class:`PooledProjection`
    makes the 1280 features of the classifier. Parameter names are those of timm's model, which
    also has ``conv_head`` and ``classifier``.

    Source: "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks"; timm's
    ``fasternet_*``. The baseline of "Partial Convolution Meets Visual Attention".

    Args:
        arch: 't0', 't1', 't2', 's', 'm', 'l', or ``dict(depths=..., embed_dim=...)``, which
        uses ReLU.
        in_channels: channels of the input image.
        drop_path_rate: stochastic depth, rising linearly from 0 in the first block to this
            rate in the last one.
        out_indices: stage or stages to return, negative ones count from the end.
        output_norm: a BN per output; None means only if ``out_indices`` names several stages.
        frozen_stages: the first n stages (the stem belongs to the first) are not trained.
        norm_eval: all batch norms use their running statistics in training.
        with_cp: activation checkpointing per block (non-reentrant).
        init_cfg: None for truncated normal with std 0.02; see :class:`Backbone` for
            pretrained weights.

    Raises:
        ValueError, TypeError: for arguments outside the choices, which the message names.
        UserError: if timm is missing.
    """

    default_init = (dict(type='TruncNormal', layer=['Conv2d', 'Linear'], std=0.02, bias=0.0),)
    new_in_detection = (r'norm\d+\.',)

    def __init__(
        self,
        arch: str | dict = 't0',
        in_channels: int = 3,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = -1,
        output_norm: bool | None = None,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | Sequence[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        check_count('in_channels', in_channels)
        self.out_indices = normalize_out_indices(out_indices, 4)
        num_built = max(self.out_indices) + 1
        self.frozen_stages = check_frozen_stages(frozen_stages, num_built)
        self.norm_eval = norm_eval
        self.with_cp = with_cp
        self.output_norm = len(self.out_indices) > 1 if output_norm is None else output_norm
        net = build_timm_fasternet(arch, in_channels, drop_path_rate)
        self.channels = tuple(stage['num_chs'] for stage in net.feature_info)
        self.patch_embed = net.patch_embed
        self.stages = net.stages[:num_built]
        if self.output_norm:
            for i in self.out_indices:
                self.add_module(f'norm{i}', nn.BatchNorm2d(self.channels[i]))
        self.train()

    def _run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpointed(block, block, x)
        return block(x)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.patch_embed(x)
        outs = []
        for i, stage in enumerate(self.stages):
            x = stage.downsample(x)
            for block in stage.blocks:
                x = self._run_block(block, x)
            if i in self.out_indices:
                outs.append(getattr(self, f'norm{i}')(x) if self.output_norm else x)
        return tuple(outs)

    def frozen_modules(self) -> list[nn.Module]:
        n = self.frozen_stages
        return [self.patch_embed, *self.stages[:n]] if n else []

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Return (layer id, number of ids): stem 0, stage i 1 + i, all others 5 (ours)."""
        parts = param_name[len(prefix) :].split('.') if param_name.startswith(prefix) else ['']
        layer_id = {'patch_embed': 0, 'stages': 1}.get(parts[0], 5)
        if parts[0] == 'stages':
            layer_id += int(parts[1])
        return layer_id, 6
