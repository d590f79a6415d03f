"""The table of sources whose weights ``convert`` understands."""

from collections.abc import Callable

from selnext_mm.checkpoints.keymaps.nanet import map_nanet
from selnext_mm.checkpoints.keymaps.own import map_own
from selnext_mm.checkpoints.keymaps.patnet import map_partialnet
from selnext_mm.checkpoints.keymaps.rules import KeyMapping, StateDict
from selnext_mm.checkpoints.keymaps.selnext import (
    map_convnext_meta,
    map_convnext_mmpretrain,
    map_convnext_timm,
    map_selnext,
)
from selnext_mm.errors import UserError

TARGETS = ('classifier', 'detection')

# A new source is one function (state, target) -> KeyMapping and one row here.
KEY_MAPS: dict[str, Callable[[StateDict, str], KeyMapping]] = {
    'selnext': map_selnext,
    'convnext-mmpretrain': map_convnext_mmpretrain,
    'timm-convnext': map_convnext_timm,
    'dinov3-convnext': map_convnext_meta,  # from Meta or transformers; Meta's ConvNeXt
    'nanet': map_nanet,
    'partialnet': map_partialnet,
    'selnext_mm': map_own,
}


def convert_keys(state: StateDict, source: str, target: str = 'classifier') -> KeyMapping:
    """Map ``state`` of ``source`` (a key of :data:`KEY_MAPS`) to our names for ``target``."""
    if source not in KEY_MAPS:
        raise UserError(f'source {source!r}; choose from {", ".join(KEY_MAPS)}')
    if target not in TARGETS:
        raise UserError(f'target {target!r}; choose from {", ".join(TARGETS)}')
    return KEY_MAPS[source](state, target)
