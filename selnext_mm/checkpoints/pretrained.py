"""Load backbone weights and report what was loaded; refuse a file if too little of it fits."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from selnext_mm.checkpoints.files import with_state_dict
from selnext_mm.checkpoints.fit import (
    HEAD_OF_CLASSIFIER,
    choose_weights,
    compare,
    state_dict_of,
    without_final_norm,
)
from selnext_mm.checkpoints.remote import load_anywhere
from selnext_mm.errors import UserError
from selnext_mm.framework import print_log
from selnext_mm.text import counted, preview

MIN_LOADED = 0.95
# A little under half of a backbone's tensors belong to SELN.
WITHOUT_ATTENTION = 0.5


def select_prefix(
    state: Mapping[str, Tensor], prefix: str | None, source: str = 'the checkpoint'
) -> dict[str, Tensor]:
    """Return the entries under ``prefix`` with the prefix removed.

    Raises:
        UserError: if no key starts with it.
    """
    if not prefix:
        return dict(state)
    chosen = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    if not chosen:
        raise UserError(
            f'no key of {source} starts with prefix={prefix!r}; its keys look like '
            f'{preview(sorted(state), 3)}. Set the prefix in init_cfg, or convert the file '
            'with "selnext-mm convert"'
        )
    return chosen


def load_pretrained(
    module: nn.Module,
    checkpoint: str | None,
    prefix: str | None = None,
    map_location: str = 'cpu',
    min_loaded: float = MIN_LOADED,
    weights: str = 'raw',
) -> str:
    """Copy the tensors of ``checkpoint`` into ``module``; return "loaded n of m tensors ...".

    Tensors that the module declares as new in detection (``module.new_in_detection``) and that
    the file lacks are listed but not counted.

    Args:
        module: the backbone.
        checkpoint: path or address, see :func:`load_anywhere`; None means random weights.
        prefix: leading part of the keys to take, e.g. ``'backbone.'``.
        map_location: as for ``torch.load``.
        min_loaded: minimum share of the module's tensors that must be loaded; 0 allows any.
        weights: for a run with ``EMAHook``: ``'raw'`` for the weights that were not averaged (the
            papers' detectors and transfer start from them), or ``'ema'`` for the averaged ones.

    The final norm of a classifier is left out where the module returns maps
    (``gap_before_final_norm=False``).

    Raises:
        UserError: if less is loaded; the message names missing, unexpected and misshapen keys.
    """
    name = type(module).__name__
    if checkpoint is None:
        return f'{name}: random weights (pretrained = None)'
    loaded = with_state_dict(load_anywhere(checkpoint, map_location))
    chosen, note = choose_weights(loaded, weights)
    whole = state_dict_of({'state_dict': chosen} if note else loaded, checkpoint)
    state = select_prefix(whole, prefix, checkpoint)
    own = module.state_dict()
    final: list[str] = []
    if not getattr(module, 'gap_before_final_norm', True):
        is_classifier = any(key.startswith(HEAD_OF_CLASSIFIER) for key in whole)
        state, final = without_final_norm(own, state, is_classifier)
    result = compare(own, state, module.new_in_detection)
    message = result.sentence(name, checkpoint)
    if note:
        message += f'; from {note}'
    if final:
        message += f"; the file's final norm is left out ({preview(final)})"
    if result.share() < min_loaded:
        raise UserError(
            f'{message}. That is under {min_loaded:.0%}; convert the file with "selnext-mm '
            'convert", check arch and prefix, or allow it with init_cfg.min_loaded=0'
        )
    module.load_state_dict({k: state[k] for k in result.loaded}, strict=False)
    frozen = {k for k, p in module.named_parameters() if not p.requires_grad}
    if left := sorted(frozen - set(result.loaded)):
        print_log(
            f'{name}: {counted(len(left), "tensor")} of the frozen stages ({preview(left)}) are '
            f'not in {checkpoint} and keep their initial values; freeze fewer stages to train them',
            'current',
            logging.WARNING,
        )
    return message
