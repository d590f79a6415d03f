"""A second device without its hardware, where tensors of two devices cannot be mixed.

A tensor there says that its device is ``meta``, but it holds values, and what is computed with it
is computed on the CPU. As on a GPU, an operator that is given tensors of both devices fails, but
for a tensor without dimensions, an index, and a copy from one device to the other.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = 'meta'
aten = torch.ops.aten
MIXED = {aten.copy_, aten.index, aten.index_put_, aten._index_put_impl_}


class Elsewhere(torch.Tensor):
    """A tensor of the other device; ``values`` is the same on the CPU."""

    @staticmethod
    def __new__(cls, values):
        return torch.Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )

    def __init__(self, values):
        self.values = values

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f'{func} outside of other_device()')

    def tolist(self):
        return self.values.tolist()


def there(tensor) -> bool:
    return isinstance(tensor, Elsewhere)


def values(tensor):
    return tensor.values if there(tensor) else tensor


class OtherDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        moved = any(map(there, tensors))
        if moved and func.overloadpacket not in MIXED:
            left = [t for t in tensors if not there(t) and t.dim()]
            if left:
                raise RuntimeError(f'{func}: a tensor {tuple(left[0].shape)} is on the CPU')
        if device := kwargs.get('device'):
            moved = torch.device(device).type == DEVICE
            kwargs = dict(kwargs, device=torch.device('cpu'))
        given = {id(t.values): t for t in tensors if there(t)}

        def back(out):
            if id(out) in given:  # an operator in place
                return given[id(out)]
            return Elsewhere(out) if moved and isinstance(out, torch.Tensor) else out

        return tree_map(back, func(*tree_map(values, args), **tree_map(values, kwargs)))


def new_tensor(create, data, *, device=None, **settings):
    """``torch.tensor``, which for ``meta`` would not keep the numbers."""
    here = create(data, **settings)
    return Elsewhere(here) if device and torch.device(device).type == DEVICE else here


@contextmanager
def other_device() -> Iterator[None]:
    """Inside, ``device='meta'`` is the other device."""
    create = functools.partial(new_tensor, torch.tensor)
    with mock.patch.object(torch, 'tensor', create), OtherDevice():
        yield
