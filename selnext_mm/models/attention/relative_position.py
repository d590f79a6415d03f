"""A bias on attention logits that depends on the distance between two positions of a map."""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

LINEAR_UP_TO = 20  # each distance up to here has its own bucket
LAST_BUCKET = 40  # shared by all distances from 152 on
LOG_SCALE_AT = 160  # where the logarithmic part would reach LAST_BUCKET exactly
NUM_BUCKETS = 2 * LAST_BUCKET + 1
CACHED_SIZES = 64  # a 25 x 42 map takes 33 kB


def distance_bucket(distance: Tensor) -> Tensor:
    """Buckets 40..80 of Euclidean distances, which are first rounded to integers ``d``.

    ``40 + d`` for ``d <= 20``, else ``40 + min(40, round(20 + 20 ln(d / 20) / ln 8))``. The
    buckets 0..39 are for negative distances, which do not occur. The tables of the published
    models contain them, but they are never read.
    """
    d = distance.double().round()
    span = LAST_BUCKET - LINEAR_UP_TO
    ratio = torch.log(d.clamp(min=1) / LINEAR_UP_TO) / math.log(LOG_SCALE_AT / LINEAR_UP_TO)
    far = (LINEAR_UP_TO + span * ratio).round().clamp(max=LAST_BUCKET)
    return LAST_BUCKET + torch.where(d <= LINEAR_UP_TO, d, far).long()


def offset_buckets(height: int, width: int, device: torch.device) -> Tensor:
    """Buckets of all offsets between two positions, of shape (2 * height - 1, 2 * width - 1)."""
    # An index created in inference mode could not be used in training later.
    with torch.inference_mode(False):
        rows = torch.arange(1 - height, height, device='cpu').double()
        columns = torch.arange(1 - width, width, device='cpu').double()
        distance = (rows[:, None] ** 2 + columns**2).sqrt()
        return distance_bucket(distance).to(device)


cached_offset_buckets = lru_cache(maxsize=CACHED_SIZES)(offset_buckets)


def pair_buckets(height: int, width: int, device: torch.device) -> Tensor:
    """Buckets of all pairs of positions, of shape (height * width, height * width)."""
    rows, columns = (torch.arange(n, device=device).double() for n in (height, width))
    vertical = (rows[:, None] - rows).square()
    horizontal = (columns[:, None] - columns).square()
    distance = (vertical[:, None, :, None] + horizontal[None, :, None, :]).sqrt()
    return distance_bucket(distance).reshape(height * width, height * width)


def exporting() -> bool:
    """Whether ``torch.export`` is tracing the model with unknown sizes."""
    return getattr(torch.compiler, 'is_exporting', bool)()


class RelativePositionBias(nn.Module):
    """``bias[h, p, q] = table[h, bucket(|p - q|)]`` for the positions p, q of a map.

    Positions are numbered row by row. iRPE in bias mode with Euclidean distances (ratio 20), one
    table per head: independent of the content, not scaled with the logits, initially 0.

    Any map size works, without interpolation. Only the buckets of the (2H-1)(2W-1) offsets are
    cached, by size and device, for the last 64 sizes; the H*W x H*W bias is a strided view of
    their values, copied once.

    Shape of the result: (num_heads, H * W, H * W).

    Source: the authors' code of PATNet; "Rethinking and Improving Relative Position Encoding for
    Vision Transformer" (iRPE).
    """

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.table = nn.Parameter(torch.zeros(num_heads, NUM_BUCKETS))

    def forward(self, x: Tensor) -> Tensor:
        """The bias for the last two dimensions of ``x``, a map (..., H, W)."""
        height, width = x.shape[-2:]
        if exporting():
            # ONNX cannot express windows of a dynamic size, and there is no size to cache by.
            return self.table[:, pair_buckets(height, width, x.device)]
        # Shape inference runs on tensors without data, which must not get into the cache.
        real = type(x) is Tensor and x.device.type != 'meta'
        buckets = (cached_offset_buckets if real else offset_buckets)(height, width, x.device)
        by_offset = self.table[:, buckets]
        # windows[h, a, b, c, d] is the value of offset (a + c, b + d), counted from (1-H, 1-W).
        windows = by_offset.unfold(1, height, 1).unfold(2, width, 1)
        return windows.flip(1, 2).reshape(self.num_heads, height * width, height * width)

    def extra_repr(self) -> str:
        return f'num_heads={self.num_heads}'
