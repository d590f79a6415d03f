"""Weights in another form, kept between calls until they change."""

import itertools
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from torch import Tensor

Form = TypeVar('Form')


class PackedOnce:
    """The result of a function of weights: computed once, and again after a weight has changed.

    It belongs to one module in one process: a copied or pickled module starts without a result.
    torch does not count a write through ``tensor.data``, so such a change goes unnoticed.

    ``number`` stands for this object in the graph of a compiled model, see :meth:`numbered`.
    """

    _numbers = itertools.count()
    _all: 'weakref.WeakValueDictionary[int, PackedOnce]' = weakref.WeakValueDictionary()

    def __init__(self) -> None:
        self.kept: tuple[Any, Any] = (None, None)  # key and form, replaced atomically for threads
        self.number = next(self._numbers)
        self._all[self.number] = self

    @classmethod
    def numbered(cls, number: int) -> 'PackedOnce | None':
        """The object with this number; None if it no longer exists."""
        return cls._all.get(number)

    def __reduce__(self):
        return PackedOnce, ()

    def get(self, weights: Sequence[Tensor], make: Callable[..., Form], *args) -> Form | None:
        """``make(weights, *args)``; None where changes cannot be seen (``inference_mode``)."""
        if any(t.is_inference() for t in weights):
            return None
        key = (make, args, *((t.data_ptr(), t._version) for t in weights))
        known, form = self.kept
        if known != key:
            form = make(weights, *args)
            self.kept = (key, form)
        return form
