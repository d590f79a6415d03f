"""Weights in another form, kept between calls for as long as they do not change."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

Form = TypeVar('Form')


class PackedOnce:
    """What a function makes of weights: made at the first call, anew if a weight has changed.

    Belongs to one module in one process: a copied or pickled module starts without. A write
    through ``tensor.data`` is not counted by torch and so not seen.
    """

    def __init__(self) -> None:
        self.key, self.value = None, None

    def __reduce__(self):
        return PackedOnce, ()

    def get(self, weights: Sequence[Tensor], make: Callable[..., Form], *args) -> Form | None:
        """``make(weights, *args)``; None where changes cannot be seen (``inference_mode``)."""
        if any(t.is_inference() for t in weights):
            return None
        key = (args, *((t.data_ptr(), t._version) for t in weights))
        if key != self.key:
            self.key, self.value = key, make(weights, *args)
        return self.value
