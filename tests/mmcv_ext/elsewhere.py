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
from mmengine.model import BaseDataPreprocessor
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

    def __getitem__(self, index):
        return super().__getitem__(numbered(index))

    def __setitem__(self, index, value):
        super().__setitem__(numbered(index), value)

    def tolist(self):
        return self.values.tolist()

    def new_tensor(self, data, *, device=None, **settings):
        here = self.values.new_tensor(data, **settings)
        return here if device and torch.device(device).type != DEVICE else Elsewhere(here)


def numbered(index):
    """``index`` with its lists as tensors, which torch would make without numbers."""
    if isinstance(index, tuple):
        return tuple(map(numbered, index))
    return torch.as_tensor(index) if isinstance(index, (list, range)) else index


def there(tensor) -> bool:
    return isinstance(tensor, Elsewhere)


def values(tensor):
    return tensor.values if there(tensor) else tensor


class OtherDevice(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        assert all(there(t) or t.device.type == 'cpu' for t in tensors), f'{func}: no numbers'
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


class OfType(type):
    """A class of those tensors of the other device that have its ``wanted`` dtype."""

    def __instancecheck__(cls, tensor):
        return there(tensor) and tensor.dtype == cls.wanted


class Bools(metaclass=OfType):
    wanted = torch.bool


class Longs(metaclass=OfType):
    wanted = torch.long


def known_to_mmengine() -> dict:
    """Types that mmengine indexes instances with, of which a GPU's tensors have their own."""
    import mmengine.structures.instance_data as module

    return dict(
        BoolTypeTensor=module.BoolTypeTensor | Bools,
        LongTypeTensor=module.LongTypeTensor | Longs,
        IndexType=module.IndexType | Bools | Longs,
    )


def move(model: torch.nn.Module) -> None:
    """Parameters and buffers, and what a data preprocessor will be given, to the other device."""
    for module in model.modules():
        for name, value in module._parameters.items():
            if value is not None:
                data = Elsewhere(value.data)
                module._parameters[name] = torch.nn.Parameter(data, value.requires_grad)
        for name, value in module._buffers.items():
            if value is not None:
                module._buffers[name] = Elsewhere(value)
        if isinstance(module, BaseDataPreprocessor):
            module._device = torch.device(DEVICE)


def new_tensor(create, data, *, device=None, **settings):
    """``torch.tensor``, which for ``meta`` would not keep the numbers."""
    here = create(data, **settings)
    return Elsewhere(here) if device and torch.device(device).type == DEVICE else here


@contextmanager
def other_device() -> Iterator[None]:
    """Inside, ``device='meta'`` is the other device."""
    create = functools.partial(new_tensor, torch.tensor)
    instances = 'mmengine.structures.instance_data'
    with (
        mock.patch.object(torch, 'tensor', create),
        mock.patch.multiple(instances, **known_to_mmengine()),
        OtherDevice(),
    ):
        yield
