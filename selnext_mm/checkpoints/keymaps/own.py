"""Classifiers trained with this package, which already have our names."""

import re

from selnext_mm.checkpoints.keymaps.rules import (
    CLASSIFIER_ONLY,
    KeyMapping,
    Rules,
    StateDict,
    first_match,
    rename,
)
from selnext_mm.checkpoints.keymaps.selnext import (
    AT_INIT_DETECTION,
    check_selnext,
    flatten_pointwise,
)
from selnext_mm.errors import UserError

OWN_RULES = Rules(
    renames=((r'((backbone|neck|head)\..+)', r'\1'),),
    of_detectors='. A detector of this package needs no conversion: start from it with --weights '
    "FILE of train, or from its backbone with init_cfg=dict(type='Pretrained', checkpoint=FILE, "
    "prefix='backbone.')",
)
HEAD_ONLY = ((r'(neck|head)\..+', 'classification neck and head: a detector has none'),)
# Optional parts of a SELNeXt block: its norm and its attention, of any kind.
_EXCHANGEABLE = re.compile(r'backbone\.stages\.\d+\.\d+\.(norm|attention)\.')


def map_own(state: StateDict, target: str) -> KeyMapping:
    """A classifier of this package; for a detector without final norm, neck and head.

    The names and shapes of a SELNeXt are checked against its arch, except attention and block norm,
    which a config may replace. For other backbones only the names are checked.
    """
    mapped, dropped = rename(state, OWN_RULES, 'classifier')
    if not any(key.startswith('backbone.') for key in mapped):
        raise UserError(
            'the backbone is missing: no key starts with "backbone.", so this is not a classifier '
            'of this package; check --from'
        )
    selnext = any('.depthwise_conv.' in key for key in mapped)
    if target == 'detection':
        for key in list(mapped):
            table = (CLASSIFIER_ONLY[0], *HEAD_ONLY) if selnext else HEAD_ONLY
            if surplus := first_match(key, table):
                dropped[key] = surplus[1]
                del mapped[key]
    if not selnext:
        words = 'arguments as in its own config'
        return KeyMapping(mapped, words, dropped, model='a backbone of this package')
    fixed = {key: value for key, value in mapped.items() if not _EXCHANGEABLE.match(key)}
    arch = check_selnext(flatten_pointwise(fixed), target, attention=False)
    at_init = dict(AT_INIT_DETECTION) if target == 'detection' else {}
    return KeyMapping(mapped, arch, dropped, at_init)
