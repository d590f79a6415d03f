"""Load backbone weights and tell what was loaded; refuse when too little of it fits."""

import re
from collections.abc import Mapping

from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from selnext_mm.checkpoints.rules import preview
from selnext_mm.errors import UserError

MIN_LOADED = 0.95


def select_prefix(state: Mapping[str, Tensor], prefix: str | None) -> dict[str, Tensor]:
    """Return the entries under ``prefix`` with the prefix removed.

    Raises:
        UserError: if no key starts with it.
    """
    if not prefix:
        return dict(state)
    chosen = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    if not chosen:
        raise UserError(
            f'no key of the checkpoint starts with prefix={prefix!r}; its keys look like '
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
) -> str:
    """Copy the tensors of ``checkpoint`` into ``module``; return "loaded n of m tensors ...".

    Tensors that the module declares as new in detection (``module.new_in_detection``) and that
    the file lacks are listed but not counted.

    Args:
        module: the backbone.
        checkpoint: path or address for mmengine's loader; None means random weights.
        prefix: leading part of the keys to take, e.g. ``'backbone.'``.
        map_location: as for ``torch.load``.
        min_loaded: least share of the module's tensors that must be loaded; 0 allows any.

    Raises:
        UserError: if less is loaded; the text names missing, unexpected and misshapen keys.
    """
    name = type(module).__name__
    if checkpoint is None:
        return f'{name}: random weights (pretrained = None)'
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location, logger=None)
    state = loaded.get('state_dict', loaded) if isinstance(loaded, Mapping) else loaded
    state = select_prefix(state, prefix)

    own = module.state_dict()
    fits = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
    misshapen = [k for k in state if k in own and k not in fits]
    missing = [k for k in own if k not in state]
    new = [k for k in missing if any(re.match(p, k) for p in module.new_in_detection)]
    unexpected = [k for k in state if k not in own]
    counted = len(own) - len(new)

    message = f'{name}: loaded {len(fits)} of {counted} tensors from {checkpoint}'
    if new:
        message += f'; new, at their initial values: {preview(new)}'
    details = [
        f'{title}: {preview(names)}'
        for title, names in (
            ('missing', [k for k in missing if k not in new]),
            ('unexpected', unexpected),
            ('of another shape', misshapen),
        )
        if names
    ]
    message = '; '.join([message, *details])
    if len(fits) < min_loaded * counted:
        raise UserError(
            f'{message}. That is under {min_loaded:.0%}; convert the file with "selnext-mm '
            'convert", check arch and prefix, or allow it with init_cfg.min_loaded=0'
        )
    module.load_state_dict(fits, strict=False)
    return message
