"""What an operator returns for tensors without data, in every supported version of torch."""

from collections.abc import Callable

import torch


def fake_of(library: torch.library.Library, name: str) -> Callable[[Callable], Callable]:
    """Decorator: the function gives shapes, strides and dtypes of the results of ``name``.

    torch 2.4 and later register it with ``register_fake``, torch 2.2 with ``impl_abstract``; in
    older versions a trace runs the kernel of the device ``meta``.

    Args:
        library: the one that defines the operator.
        name: name of the operator, without the namespace.
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
