"""Compare an exported file with its model: the largest differences over several input shapes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selnext_mm.errors import UserError

# (N, H, W): one image, several, and sides that no stride divides; none is the traced shape.
SHAPES = ((1, 224, 224), (3, 256, 384), (2, 203, 333))


@dataclass(frozen=True)
class Difference:
    """On one input: ``error`` is the largest |file - model|, ``scale`` the largest |model|."""

    shape: tuple[int, int, int]
    error: float
    scale: float

    @property
    def relative(self) -> float:
        """``error / max(1, scale)``: relative to the largest output, or absolute if it is < 1."""
        return self.error / max(1.0, self.scale)


def compare(
    model: nn.Module,
    run: Callable[[Tensor], list[Tensor]],
    shapes: tuple[tuple[int, int, int], ...] = SHAPES,
    scale: tuple[float, float] = (0.0, 1.0),
) -> list[Difference]:
    """Run both on Gaussian noise with ``scale`` (mean, std), drawn separately for each shape.

    Raises:
        UserError: if the file does not run on a shape, or its outputs differ in shape.
    """
    result = []
    for i, (n, h, w) in enumerate(shapes):
        generator = torch.Generator().manual_seed(i)
        x = torch.randn(n, 3, h, w, generator=generator) * scale[1] + scale[0]
        with torch.no_grad():
            wanted = model(x)
            try:
                got = run(x)
            # Each runtime raises its own exception classes.
            except Exception as error:
                reason = f'{type(error).__name__}: {error}'.splitlines()[0][:300]
                raise UserError(
                    f'the exported file does not run on {n}x3x{h}x{w}: {reason}'
                ) from error
        shapes_of = [[tuple(y.shape) for y in outputs] for outputs in (wanted, got)]
        if shapes_of[0] != shapes_of[1]:
            raise UserError(
                f'the exported file gives {shapes_of[1]} on {n}x3x{h}x{w}, the model {shapes_of[0]}'
            )
        pairs = list(zip(wanted, got, strict=True))
        # Python's max() can lose a NaN.
        errors = torch.stack([(a - b).abs().max() for a, b in pairs])
        worst = float('inf') if errors.isnan().any() else float(errors.max())
        largest = float(torch.stack([a.abs().max() for a, _ in pairs]).max())
        result.append(Difference((n, h, w), worst, largest))
    return result
