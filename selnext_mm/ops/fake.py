"""What an operator returns for tensors without data, in every torch that the package runs with."""

from collections.abc import Callable

import torch


def fake_of(library: torch.library.Library, name: str) -> Callable[[Callable], Callable]:
    """Decorator: the function gives shapes, strides and types of the results of ``name``.

    torch 2.4 has ``register_fake`` for it, 2.2 called it ``impl_abstract``; before that the kernel
    of the device ``meta`` is what a trace runs.

    Args:
        library: that has defined the operator.
        name: of the operator, without the namespace.
    """
    register = getattr(torch.library, 'register_fake', None) or getattr(
        torch.library, 'impl_abstract', None
    )
    if register is not None:
        return register(f'{library.ns}::{name}')

    def register_meta(function: Callable) -> Callable:
        library.impl(name, function, 'Meta')
        return function

    return register_meta
