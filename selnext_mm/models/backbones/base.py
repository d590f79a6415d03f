"""What all backbones of the package share: outputs, freezing and strict pretrained weights."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from selnext_mm.checkpoints.pretrained import load_pretrained
from selnext_mm.framework import BaseModule, print_log


def normalize_out_indices(out_indices: int | Sequence[int], num_stages: int) -> tuple[int, ...]:
    """Return sorted, non-negative stage indices.

    Args:
        out_indices: one index or several; negative ones count from the last stage.
        num_stages: number of stages of the architecture.

    Raises:
        ValueError: for an index out of range, a repeated index, or no index.
        TypeError: for anything but integers.
    """
    indices = [out_indices] if isinstance(out_indices, int) else list(out_indices)
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in indices):
        raise TypeError(f'out_indices={out_indices!r}; expected an int or a sequence of ints')
    bad = [i for i in indices if not -num_stages <= i < num_stages]
    indices = [i % num_stages for i in indices]
    if bad or not indices or sorted(set(indices)) != indices:
        raise ValueError(
            f'out_indices={out_indices!r}; expected increasing stage indices out of '
            f'{-num_stages}..{num_stages - 1}, each once'
        )
    return tuple(indices)


def check_count(name: str, value: int) -> int:
    """Return ``value``, the argument ``name`` of a backbone.

    Raises:
        ValueError: unless it is an int of 1 or more.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f'{name}={value!r}; expected an int of 1 or more')
    return value


def expanded_width(channels: int, mlp_ratio: float) -> int:
    """``mlp_ratio * channels``, rounded down.

    Raises:
        ValueError: unless ``mlp_ratio`` is a number that gives 1 or more.
    """
    number = isinstance(mlp_ratio, int | float) and not isinstance(mlp_ratio, bool)
    if not number or not 1 <= mlp_ratio * channels < float('inf'):
        raise ValueError(f'mlp_ratio={mlp_ratio!r}; expected a positive number, such as 4')
    return int(mlp_ratio * channels)


def check_frozen_stages(frozen_stages: int, num_built: int) -> int:
    """Return ``frozen_stages``.

    Raises:
        ValueError: unless it is an int from 0 to the number of stages that are built.
    """
    if not isinstance(frozen_stages, int) or not 0 <= frozen_stages <= num_built:
        raise ValueError(
            f'frozen_stages={frozen_stages!r}; expected 0..{num_built}, the number of stages up to '
            'the last of out_indices'
        )
    return frozen_stages


def resolve_arch(arch: str | dict, archs: Mapping[str, tuple], num_stages: int = 0) -> tuple:
    """``archs[arch]``, or (depths, channels) of a dict with these two keys.

    Args:
        arch: a name or the dict.
        archs: the known architectures, which begin with depths and channels.
        num_stages: required length of both sequences of a dict; 0 allows any.

    Raises:
        ValueError: for an unknown name, other keys, or sequences of different lengths.
    """
    if isinstance(arch, str):
        if arch not in archs:
            raise ValueError(f'arch={arch!r}; expected one of {list(archs)} or a dict')
        return archs[arch]
    if not isinstance(arch, dict) or set(arch) != {'depths', 'channels'}:
        raise ValueError(f"arch={arch!r}; expected a dict with the keys 'depths' and 'channels'")
    depths, channels = tuple(arch['depths']), tuple(arch['channels'])
    fits = len(depths) == (num_stages or len(depths)) == len(channels)
    if not fits or not depths or min(depths + channels) < 1:
        raise ValueError(
            f'arch={arch!r}; expected depths and channels of equal length'
            f'{f", {num_stages} each" if num_stages else ""}, all positive'
        )
    return depths, channels


class CountedPretrained:
    """Mixin for mmengine modules: loads pretrained weights and counts the tensors that fit.

    ``init_cfg`` may be None (the class's own initialisation), or mmengine init dicts. A dict of
    type ``Pretrained`` is not passed to mmengine, which does not report what did not fit. It is
    loaded here: the number of loaded tensors is printed, and a share of less than ``min_loaded``
    (default 0.95) is an error. With ``checkpoint=None`` it means random weights;
    ``weights='ema'`` takes the averaged ones of a run with ``EMAHook`` (default: ``'raw'``).
    """

    # Parameters that a classification checkpoint does not have; they do not count as missing.
    new_in_detection: tuple[str, ...] = ()
    is_init: bool  # from mmengine's BaseModule, which comes later in the MRO

    def __init__(self, *args, init_cfg: dict | Sequence[dict] | None = None, **kwargs) -> None:
        cfgs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or ())
        self.pretrained = None
        others = []
        for cfg in map(copy.deepcopy, cfgs):
            if cfg.get('type') == 'Pretrained':
                self.pretrained = cfg
            else:
                others.append(cfg)
        # The class's default init_cfg applies where no other initialisation is given.
        super().__init__(*args, **kwargs, **({'init_cfg': others} if others else {}))

    def init_weights(self) -> None:
        """Initialise; load the pretrained weights once, the first time."""
        first = not self.is_init
        super().init_weights()  # type: ignore[misc]  # mmengine's
        if first and self.pretrained:
            print_log(self.load_pretrained(), 'current')

    def _dump_init_info(self) -> None:
        """Do nothing; mmengine would log two lines for every parameter.

        mmengine calls this on the module whose ``init_weights`` was called. That is the backbone
        only if it is used alone, outside a model and a runner.
        """

    def load_pretrained(self) -> str:
        """Load what ``init_cfg`` names; return the line that reports how much of it fitted."""
        options = {k: v for k, v in (self.pretrained or {}).items() if k != 'type'}
        return load_pretrained(self, **{'checkpoint': None, **options})


def _images_in(module: 'Backbone', args: tuple) -> tuple:
    return tuple(a.to(module.dtype) if isinstance(a, torch.Tensor) else a for a in args)


def _maps_out(module: 'Backbone', args: tuple, maps: tuple) -> tuple:
    return tuple(m.float() for m in maps)


class Backbone(CountedPretrained, BaseModule):
    """Base class of our own backbones: counted loading, and a training mode that respects freezing.

    ``train()`` leaves frozen modules in eval mode, and with ``norm_eval`` all batch norms. After
    ``switch_to_deploy()``, ``train(True)`` raises a RuntimeError.
    """

    default_init: tuple[dict, ...] = ()
    norm_eval = False
    deployed = False
    dtype: torch.dtype | None = None  # set by compute_in()
    # Describes a deployed model, and what to load into a new one.
    deployed_words = ('deployed for inference', 'its state dict, which has the same keys')

    def __init__(self, init_cfg: dict | Sequence[dict] | None = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.init_cfg = self.init_cfg or list(copy.deepcopy(self.default_init))

    def frozen_modules(self) -> list[nn.Module]:
        """Modules that are neither trained nor put into training mode."""
        return []

    def freeze(self) -> None:
        for module in self.frozen_modules():
            module.eval()
            for parameter in module.parameters():
                parameter.requires_grad_(False)

    def compute_in(self, dtype: torch.dtype) -> None:
        """Convert the parameters to ``dtype`` for good; input images are converted as they come in.

        The output maps are float32, so neck and heads need no change. bfloat16 is fast on
        processors with AMX or AVX512-BF16 and on NVIDIA GPUs, and needs half of the memory.

        Raises:
            ValueError: if it is not a floating-point dtype.
        """
        if not dtype.is_floating_point:
            raise ValueError(
                f'dtype={dtype}: a model computes in floating-point numbers; use torch.bfloat16, '
                'torch.float16 or torch.float32'
            )
        if self.dtype is None:
            self.register_forward_pre_hook(_images_in)
            self.register_forward_hook(_maps_out)
        self.dtype = dtype
        self.to(dtype)

    def train(self, mode: bool = True) -> 'Backbone':
        """Set the mode; RuntimeError for ``mode=True`` on a deployed model."""
        if mode and self.deployed:
            what, source = self.deployed_words
            raise RuntimeError(
                f'this {type(self).__name__} is {what} and cannot be trained. Build the model '
                f'anew and load {source}'
            )
        super().train(mode)
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        self.freeze()
        return self
