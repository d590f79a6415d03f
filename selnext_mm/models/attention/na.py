"""Normalisation-attention: a channel gate made of a normalised context and two scalars (NA)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from selnext_mm.framework import MODELS
from selnext_mm.ops.capabilities import without_autocast

# Added to the standard deviation, not to the variance, as in the published code.
STD_EPS = 1e-5
SIMILARITIES = ('channel_mean', 'l1')
CONTEXTS = ('similarity', 'mean')


def _embedding() -> nn.Sequential:
    """3x3 convolution, ReLU, 3x3 convolution on one channel: 20 parameters."""
    return nn.Sequential(
        nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(1, 1, 3, padding=1)
    )


def _conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """``layer(x)`` in the dtype of ``x``, whatever the dtype of the layer."""
    return F.conv2d(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype), padding=layer.padding)


@MODELS.register_module()
class NAModule(nn.Module):
    """Rescale each channel by the sigmoid of its normalised spatial context.

    With positions i = 1..HW, channels c = 1..C and the two scalars ``weight`` and ``bias``::

        m_i = mean_c x_ci                        channel mean, one number per position
        d_i = -|m_i - mean_j m_j|                similarity to the global context
        g_c = sum_i softmax(d)_i * x_ci          context
        z_c = (g_c - mean_c g) / (std_c g + 1e-5)        std unbiased; 0 for C = 1
        y_c = x_c * sigmoid(weight * z_c + bias)

    At initialisation ``weight`` is 0 and ``bias`` is 1: every channel is scaled by 0.731.
    Everything up to the sigmoid is computed in float32 (float64 for float64 input) whatever the
    input's precision and the autocast state; the product has the input's dtype.

    Shapes: (N, C, H, W) -> (N, C, H, W), for any H and W including 1.

    Source: "Attention Meets Normalization and Beyond", section 4, and the published code, whose
    formula this is. The printed formula cannot be used: eq. 6 sums to 1 whatever the input. The
    two also differ in the similarity; ``similarity='l1'`` takes it as printed in eq. 5,
    ``d_i = -sum_c |x_ci - mean_j x_cj|``, inside the same softmax.

    Args:
        in_channels: number of channels C; any other number raises an error.
        similarity: 'channel_mean' (published code) or 'l1' (eq. 5 as printed).
        context: 'similarity', or 'mean' for ``g_c = mean_i x_ci`` (Table 3).
        embedding: compare ``f(u)_i`` with ``mean_j h(u)_j`` instead of ``u_i`` with
            ``mean_j u_j``, u the compared map and f and h two 3x3 - ReLU - 3x3 convolutions of
            one channel, which all channels share: 42 parameters in place of 2 (Table 2). The
            paper gives their size; that h comes before the mean is our reading.

    Raises:
        ValueError: for an unknown ``similarity`` or ``context``, for options that
        ``context='mean'`` would ignore, and for an input of another width.
    """

    # mmcv names a plugin after this: layer1.0.na.weight
    _abbr_ = 'na'

    def __init__(
        self,
        in_channels: int,
        similarity: str = 'channel_mean',
        context: str = 'similarity',
        embedding: bool = False,
    ) -> None:
        super().__init__()
        if in_channels < 1:
            raise ValueError(f'in_channels={in_channels!r}; expected 1 or more')
        if similarity not in SIMILARITIES:
            raise ValueError(f'similarity={similarity!r}; expected one of {SIMILARITIES}')
        if context not in CONTEXTS:
            raise ValueError(f'context={context!r}; expected one of {CONTEXTS}')
        if context == 'mean' and (embedding or similarity != SIMILARITIES[0]):
            raise ValueError(
                f"context='mean' compares nothing, so similarity={similarity!r} with "
                f'embedding={embedding!r} has no effect; leave them out, or use '
                "context='similarity'"
            )
        self.in_channels = in_channels
        self.similarity = similarity
        self.context = context
        self.query, self.key = (_embedding(), _embedding()) if embedding else (None, None)
        self.weight = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.ones(1))

    def _embed(self, layers: nn.Sequential | None, u: Tensor) -> Tensor:
        """Run the one-channel ``layers`` on every channel of ``u`` (N, K, H, W)."""
        if layers is None:
            return u
        first, _, second = layers
        v = u.flatten(0, 1).unsqueeze(1)
        return _conv(second, F.relu(_conv(first, v))).view_as(u)

    def attention(self, x: Tensor) -> Tensor:
        """Weights (N, HW) of the positions of ``x`` (N, C, H, W); they sum to 1."""
        u = x.mean(1, keepdim=True) if self.similarity == 'channel_mean' else x
        query = self._embed(self.query, u).flatten(2)
        key = self._embed(self.key, u).flatten(2).mean(2, keepdim=True)
        return (query - key).abs().sum(1).neg().softmax(1)

    def pool(self, x: Tensor) -> Tensor:
        """The context g (N, C) of ``x`` (N, C, H, W), float32 or wider."""
        if self.context == 'mean':
            return x.mean((2, 3))
        return (x.flatten(2) @ self.attention(x).unsqueeze(2)).squeeze(2)

    def activate(self, g: Tensor) -> Tensor:
        """Scales (N, C) in (0, 1) from the context."""
        # One channel has no unbiased deviation: correction 0 gives 0 instead of NaN.
        std = g.std(1, correction=min(1, self.in_channels - 1), keepdim=True)
        z = (g - g.mean(1, keepdim=True)) / (std + STD_EPS)
        return torch.sigmoid(self.weight.to(z.dtype) * z + self.bias.to(z.dtype))

    def gate(self, x: Tensor) -> Tensor:
        """Scales (N, C) in (0, 1) for ``x`` (N, C, H, W), float32 or wider."""
        return self.activate(self.pool(x))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.in_channels:
            raise ValueError(
                f'an input of {x.shape[1]} channels, shape {tuple(x.shape)}; this module was '
                f'made with in_channels={self.in_channels}'
            )
        with without_autocast(x.device.type):  # the eps is subnormal in float16
            gate = self.gate(x.to(torch.promote_types(x.dtype, torch.float32)))
        return x * gate.to(x.dtype)[:, :, None, None]

    def extra_repr(self) -> str:
        return f'{self.in_channels}, similarity={self.similarity!r}, context={self.context!r}'
