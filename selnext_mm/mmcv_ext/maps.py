"""Windows of feature maps, with the channels next to each other.

BLAS can use a window of an image stored as (H, W C) without a copy, and one product with its rows
covers all channels. Maps are given as (C, H, W). If the windows together cover less than the maps,
each window is transposed, otherwise the maps are.
"""

from collections.abc import Sequence

from torch import Tensor

Span = Sequence[int]  # image, y0, y1, x0, x1


def is_sparse(maps: Tensor, spans: Sequence[Span]) -> bool:
    """Whether all windows together have fewer pixels than the maps."""
    area = sum((y1 - y0) * (x1 - x0) for _, y0, y1, x0, x1 in spans)
    return area < maps.shape[0] * maps.shape[2] * maps.shape[3]


def channels_last(maps: Tensor) -> Tensor:
    """Maps (B, C, H, W) as (B, H, W C), without a copy if they are stored that way."""
    batch, channels, height, width = maps.shape
    turned = maps.permute(0, 2, 3, 1)
    if not turned.is_contiguous():
        turned = maps.new_empty(turned.shape)
        for source, target in zip(maps, turned, strict=True):
            # As a matrix, because torch transposes matrices in blocks that fit the caches.
            target.view(-1, channels).copy_(source.reshape(channels, -1).T)
    return turned.reshape(batch, height, width * channels)


class Windows:
    """Reads windows of ``maps`` (B, C, H, W) as matrices (h, w C)."""

    def __init__(self, maps: Tensor, spans: Sequence[Span]) -> None:
        self.maps, self.spans, self.channels = maps, spans, maps.shape[1]
        dense = maps.permute(0, 2, 3, 1).is_contiguous() or not is_sparse(maps, spans)
        self.rows = channels_last(maps) if dense else None

    def read(self, number: int) -> Tensor:
        image, y0, y1, x0, x1 = self.spans[number]
        if self.rows is not None:
            return self.rows[image, y0:y1, x0 * self.channels : x1 * self.channels]
        return self.maps[image, :, y0:y1, x0:x1].permute(1, 2, 0).reshape(y1 - y0, -1)


class WindowSums:
    """Adds matrices (h, w C) to windows of ``maps``, which are set to 0 first."""

    def __init__(self, maps: Tensor, spans: Sequence[Span]) -> None:
        self.maps, self.spans, self.channels = maps.zero_(), spans, maps.shape[1]
        batch, _, height, width = maps.shape
        sparse = is_sparse(maps, spans)
        self.rows = None if sparse else maps.new_zeros(batch, height, width * self.channels)

    def add(self, number: int, left: Tensor, right: Tensor) -> None:
        """Add ``left @ right``, (h, P) @ (P, w C), to a window."""
        image, y0, y1, x0, x1 = self.spans[number]
        if self.rows is not None:
            window = self.rows[image, y0:y1, x0 * self.channels : x1 * self.channels]
            window.addmm_(left, right)
        else:
            sums = (left @ right).view(y1 - y0, x1 - x0, self.channels)
            self.maps[image, :, y0:y1, x0:x1] += sums.permute(2, 0, 1)

    def finish(self) -> None:
        """Complete the sums in ``maps``, after the last call of :meth:`add`."""
        if self.rows is None:
            return
        for source, target in zip(self.rows, self.maps, strict=True):
            flat = target.view(self.channels, -1)
            flat.copy_(source.view(-1, self.channels).T)
