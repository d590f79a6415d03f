"""Minimal versions of mmengine's registry, module bases and log, for torch alone.

They have only what the models of this package use. Other features of mmengine (scopes, runner,
initialisation from files) need mmengine.
"""

import copy
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean

InitCfg = dict | Sequence[dict] | None


def print_log(msg: str, logger: str | None = None, level: int = logging.INFO) -> None:
    """Log ``msg`` to the standard logger ``selnext_mm``; ``logger`` is only for compatibility."""
    logging.getLogger('selnext_mm').log(level, msg)


class Registry:
    """Maps names to classes, and builds objects from ``dict(type=NAME, **arguments)``."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module_dict: dict[str, Callable] = {}

    def register_module(self, name: str | None = None, module: Callable | None = None) -> Callable:
        """Register ``module`` under ``name``, or the decorated class under its own name."""
        if module is None:
            return lambda cls: self.register_module(name, cls)
        self.module_dict[name or module.__name__] = module
        return module

    def get(self, key: str) -> Callable | None:
        """What is registered as ``key``; None if nothing is."""
        return self.module_dict.get(key)

    def build(self, cfg: dict) -> Any:
        """The object of ``cfg``; its ``type`` is a name or a class.

        Raises:
            KeyError: for a name that is not registered.
        """
        arguments = dict(cfg)
        kind = arguments.pop('type')
        found = self.get(kind) if isinstance(kind, str) else kind
        if found is None:
            raise KeyError(
                f'{kind!r} is not registered here{did_you_mean(kind, self.module_dict)}; classes '
                'of MMDetection, MMPretrain and mmcv need mmengine: pip install mmengine'
            )
        return found(**arguments)


MODELS = Registry('model')


def _fill(module: nn.Module, weight: Callable, bias: float) -> None:
    """Initialise ``weight`` and ``bias`` of a module, if it has them."""
    if getattr(module, 'weight', None) is not None:
        weight(module.weight)
    if getattr(module, 'bias', None) is not None:
        nn.init.constant_(module.bias, bias)


def _trunc_normal(mean: float = 0, std: float = 1, a: float = -2, b: float = 2) -> Callable:
    """Normal numbers between ``a`` and ``b``, by inverse transform sampling as in mmengine.

    torch's own ``trunc_normal_`` redraws what is outside, so the same seed gives other numbers.
    """
    low, high = (math.erf((limit - mean) / std / math.sqrt(2)) for limit in (a, b))

    @torch.no_grad()
    def fill(tensor: Tensor) -> None:
        normal = tensor.uniform_(low, high).erfinv_()
        normal.mul_(std * math.sqrt(2)).add_(mean).clamp_(min=a, max=b)

    return fill


# type of an init dict -> function from its arguments (without layer, bias) to a filler
INITIALIZERS: dict[str, Callable[..., Callable]] = {
    'TruncNormal': _trunc_normal,
    'Normal': lambda mean=0, std=1: lambda tensor: nn.init.normal_(tensor, mean, std),
    'Constant': lambda val: lambda tensor: nn.init.constant_(tensor, val),
}


def initialize(module: nn.Module, cfg: dict) -> None:
    """Fill weights and biases of every layer in ``module`` that ``cfg`` names.

    Args:
        module: the outermost module.
        cfg: ``type``, one of :data:`INITIALIZERS`; ``layer``, names of classes or of their
            bases; ``bias``, by default 0; and the arguments of the type.

    Raises:
        UserError: for any other type, which needs mmengine.
    """
    options = dict(cfg)
    kind, layers = options.pop('type'), options.pop('layer', [])
    bias = options.pop('bias', 0)
    if kind not in INITIALIZERS:
        raise UserError(
            f'init_cfg type {kind!r}: without mmengine there are {", ".join(INITIALIZERS)} and '
            'Pretrained; choose one of them, or pip install mmengine'
        )
    weight = INITIALIZERS[kind](**options)
    names = {layers} if isinstance(layers, str) else set(layers)

    def fill(layer: nn.Module) -> None:
        # mmengine checks a class and its direct bases.
        if names & {cls.__name__ for cls in (type(layer), *type(layer).__bases__)}:
            _fill(layer, weight, bias)

    module.apply(fill)


class BaseModule(nn.Module):
    """A module that initialises itself by ``init_cfg``, outer modules first.

    Args:
        init_cfg: init dicts, see :func:`initialize`; an inner module overrides the outer ones.
    """

    def __init__(self, init_cfg: InitCfg = None) -> None:
        super().__init__()
        self.is_init = False
        self.init_cfg = copy.deepcopy(init_cfg)

    def init_weights(self) -> None:
        """Initialise this module and those inside it; a second call does nothing."""
        if self.is_init:
            return
        cfgs = [self.init_cfg] if isinstance(self.init_cfg, dict) else self.init_cfg or ()
        for cfg in cfgs:
            initialize(self, cfg)
        for child in self.children():
            if hasattr(child, 'init_weights') and not getattr(child, 'is_init', False):
                child.init_weights()
        self.is_init = True


class Sequential(BaseModule, nn.Sequential):
    """``nn.Sequential`` with an ``init_cfg``."""

    def __init__(self, *args: nn.Module, init_cfg: InitCfg = None) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.Sequential.__init__(self, *args)


class ModuleList(BaseModule, nn.ModuleList):
    """``nn.ModuleList`` with an ``init_cfg``."""

    def __init__(
        self, modules: Iterable[nn.Module] | None = None, init_cfg: InitCfg = None
    ) -> None:
        BaseModule.__init__(self, init_cfg)
        nn.ModuleList.__init__(self, modules)
