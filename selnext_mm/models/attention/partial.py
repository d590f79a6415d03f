"""PATNet's three partial attentions: a convolution on some channels, attention on the others."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.framework import MODELS

from .relative_position import RelativePositionBias, exporting

SCOPES = ('rest', 'all')
TOKEN_NORM_EPS = 1e-6


def _share(in_channels: int, ratio: float) -> int:
    """``ratio * in_channels``, rounded down, at least 1."""
    if not 0 < ratio <= 1 or int(in_channels * ratio) < 1:
        raise ValueError(f'ratio={ratio!r} of in_channels={in_channels}; expected 1 channel to all')
    return int(in_channels * ratio)


def _check_scope(scope: str) -> None:
    if scope not in SCOPES:
        raise ValueError(f'scope={scope!r}; expected one of {SCOPES}')


@MODELS.register_module()
class PartialConv(nn.Module):
    """``cat(conv3x3(x1), x2)``: a 3x3 convolution on the first ``ratio`` of the channels.

    ``ratio=1`` is the regular convolution of Table 5, with ``depthwise=True`` the depth-wise one.

    Shapes: (N, C, H, W) -> (N, C, H, W).

    Args:
        in_channels: number of channels C.
        ratio: share of the channels that is convolved.
        depthwise: one filter per channel.
    """

    def __init__(self, in_channels: int, ratio: float = 0.25, depthwise: bool = False) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.conv_channels = _share(in_channels, ratio)
        n = self.conv_channels
        self.conv = nn.Conv2d(n, n, 3, padding=1, groups=n if depthwise else 1, bias=False)

    def split_channels(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The convolved first channels, and the other channels unchanged."""
        n = self.conv_channels
        return self.conv(x[:, :n]), x[:, n:]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self.split_channels(x), 1)


class _PartialAttention(PartialConv, ABC):
    """A partial convolution with attention on the other channels (``scope='rest'``) or on all.

    ``attention_channels`` is the number of channels that :meth:`attend` gets.
    """

    def __init__(self, in_channels: int, ratio: float, scope: str) -> None:
        super().__init__(in_channels, ratio)
        _check_scope(scope)
        self.scope = scope
        rest = in_channels - self.conv_channels
        self.attention_channels = rest if scope == 'rest' else in_channels
        if not self.attention_channels:
            raise ValueError(f'ratio={ratio!r} leaves no channel for the attention')

    @abstractmethod
    def attend(self, x: Tensor) -> Tensor:
        """The attended channels, of the shape of ``x``."""

    def forward(self, x: Tensor) -> Tensor:
        convolved, rest = self.split_channels(x)
        if self.scope == 'rest':
            return torch.cat((convolved, self.attend(rest)), 1)
        return self.attend(torch.cat((convolved, rest), 1))


@MODELS.register_module()
class PartialChannelAttention(_PartialAttention):
    """PAT_ch: ``cat(conv3x3(x1), BN(gate(x2)))``.

    x1 are the first ``ratio`` of the channels, x2 the others; the gate rescales channels.

    Shapes: (N, C, H, W) -> (N, C, H, W).

    Source: "Partial Convolution Meets Visual Attention", section 3.2; layers as in the authors'
    code.

    Args:
        in_channels: number of channels C.
        ratio: share of the channels that is convolved.
        gate_cfg: the gate; ``dict(type='MeanStdGate', depthwise=True)`` and
            ``dict(type='SqueezeExciteGate')`` are the other rows of Table 10.
        scope: 'rest', or 'all' to gate the convolved channels as well (Table 3, "F").
    """

    def __init__(
        self,
        in_channels: int,
        ratio: float = 0.25,
        gate_cfg: dict | None = None,
        scope: str = 'rest',
    ) -> None:
        super().__init__(in_channels, ratio, scope)
        gate_cfg = gate_cfg or dict(type='MeanStdGate')
        self.gate = MODELS.build(dict(gate_cfg, in_channels=self.attention_channels))
        self.norm = nn.BatchNorm2d(self.attention_channels)

    def attend(self, x: Tensor) -> Tensor:
        return self.norm(self.gate(x))


@MODELS.register_module()
class PartialSelfAttention(_PartialAttention):
    """PAT_sf: ``cat(conv3x3(x1), attention(LN(x2)))``, with all positions of the map as tokens.

    ``attention = W_o concat_h(softmax(q_h k_h^T / sqrt(d) + b_h) v_h) + b_o``: q, k, v without
    biases, b the relative position bias (:class:`RelativePositionBias`), d the width of a head.
    LN runs over the channels of each position, eps 1e-6. There is no shortcut inside.

    Memory is linear in the number of tokens where PyTorch's scaled dot-product attention has
    such a kernel. The bias is the exception: num_heads * (H * W)^2 values for the whole batch.

    Shapes: (N, C, H, W) -> (N, C, H, W), any H and W.

    Source: "Partial Convolution Meets Visual Attention", section 3.2; layers as in the authors'
    code, which also sets the dropout.

    Args:
        in_channels: number of channels C.
        ratio: share of the channels that is convolved.
        num_heads: number of heads; the paper does not print it (docs/patnet.md).
        attn_drop: dropout rate of the attention map.
        proj_drop: dropout rate of the result.
        scope: 'rest', or 'all' to attend the convolved channels as well (Table 3, "F").

    Raises:
        ValueError: if ``num_heads`` does not divide the attended channels.
    """

    def __init__(
        self,
        in_channels: int,
        ratio: float = 0.25,
        num_heads: int = 6,
        attn_drop: float = 0.1,
        proj_drop: float = 0.1,
        scope: str = 'rest',
    ) -> None:
        super().__init__(in_channels, ratio, scope)
        width = self.attention_channels
        if num_heads < 1 or width % num_heads:
            raise ValueError(f'num_heads={num_heads!r}; expected a divisor of {width} channels')
        self.num_heads = num_heads
        self.attn_drop = attn_drop
        self.norm = nn.LayerNorm(width, eps=TOKEN_NORM_EPS)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.position = RelativePositionBias(num_heads)
        self.proj = nn.Linear(width, width)
        self.proj_drop = nn.Dropout(proj_drop)

    def attend(self, x: Tensor) -> Tensor:
        tokens = self.norm(x.flatten(2).transpose(1, 2))
        qkv = self.qkv(tokens).unflatten(2, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.position(x).to(q.dtype)[None]
        if exporting():
            # Fused kernels are chosen by size, and an export has to leave the sizes dynamic.
            logits = q @ k.transpose(2, 3) * q.shape[3] ** -0.5 + bias
            y = logits.softmax(3) @ v
        else:
            dropout = self.attn_drop if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        y = self.proj_drop(self.proj(y.transpose(1, 2).flatten(2)))
        return y.transpose(1, 2).unflatten(2, x.shape[2:])


@MODELS.register_module()
class PartialSpatialAttention(nn.Module):
    """PAT_sp: ``cat(BN1(x1 * a), W BN2(x2))`` with ``a = hardsigmoid(w . x1)`` per position.

    x2 are the **last** ``ratio`` of the channels, x1 the others; W is a 1x1 convolution, and
    none of the layers has a bias. In inference all of it merges into the 1x1 convolution before it,
    which then has one more output (:class:`FoldedSpatialAttention`).

    Shapes: (N, C, H, W) -> (N, C, H, W).

    Source: "Partial Convolution Meets Visual Attention", section 3.2; layers as in the authors'
    code. The printed ratio 1/4 contradicts the printed parameters, which need 1/2.

    Args:
        in_channels: number of channels C.
        ratio: share of the channels that is convolved.
        scope: 'rest', or 'all' to let ``a`` see and rescale all channels before the
            convolution (Table 3, "F").
    """

    def __init__(self, in_channels: int, ratio: float = 0.5, scope: str = 'rest') -> None:
        super().__init__()
        _check_scope(scope)
        self.in_channels = in_channels
        self.scope = scope
        self.conv_channels = _share(in_channels, ratio)
        self.keep_channels = in_channels - self.conv_channels
        gated = self.keep_channels if scope == 'rest' else in_channels
        if not gated:
            raise ValueError(f'ratio={ratio!r} leaves no channel for the attention')
        self.gate = nn.Conv2d(gated, 1, 1, bias=False)
        self.gate_norm = nn.BatchNorm2d(gated)
        self.conv_norm = nn.BatchNorm2d(self.conv_channels)
        self.conv = nn.Conv2d(self.conv_channels, self.conv_channels, 1, bias=False)

    def attend(self, x: Tensor) -> Tensor:
        return self.gate_norm(x * F.hardsigmoid(self.gate(x)))

    def forward(self, x: Tensor) -> Tensor:
        n = self.keep_channels
        if self.scope == 'all':
            x = self.attend(x)
            kept = x[:, :n]
        else:
            kept = self.attend(x[:, :n])
        return torch.cat((kept, self.conv(self.conv_norm(x[:, n:]))), 1)


class FoldedSpatialAttention(nn.Module):
    """What is left of PAT_sp after merging: ``cat(y1 * hardsigmoid(y3) + shift, y2)``.

    y1 has as many channels as ``shift``, y3 is the last channel, y2 are those between them.

    Shapes: (N, C + 1, H, W) -> (N, C, H, W).
    """

    def __init__(self, shift: Tensor) -> None:
        super().__init__()
        self.shift = nn.Parameter(shift[:, None, None].clone(), requires_grad=False)

    def forward(self, y: Tensor) -> Tensor:
        n = len(self.shift)
        gated = y[:, :n] * F.hardsigmoid(y[:, -1:]) + self.shift
        return torch.cat((gated, y[:, n:-1]), 1) if n < y.shape[1] - 1 else gated
