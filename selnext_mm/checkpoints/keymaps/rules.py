"""What the key maps share: renaming by rules, and checking the result against a model's shapes.

A key map neither reads files nor imports torch. It renames, checks and reports; a tensor is
anything with ``shape`` and ``reshape``. No key disappears silently: a key is mapped, dropped with
a reason, or an error.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from selnext_mm.errors import UserError
from selnext_mm.text import preview

StateDict = dict[str, Any]
Shape = tuple[int, ...]

NUM_STAGES = 4
PARAM = r'(weight|bias)'
BATCH_NORM_PARTS = ('weight', 'bias', 'running_mean', 'running_var')
COUNTER = 'num_batches_tracked'
BATCH_NORM = rf'({"|".join((*BATCH_NORM_PARTS, COUNTER))})'


@dataclass(frozen=True)
class Arch:
    """The model that a checkpoint describes, read from its keys and shapes."""

    depths: Shape
    channels: Shape
    layer_scale: bool = True
    model: str = 'SELNeXt'
    num_heads: int | None = None
    spatial: bool = True


@dataclass(frozen=True)
class KeyMapping:
    """What became of a checkpoint.

    Attributes:
        state: our names -> tensors.
        dropped: key of the source -> why it has no place in the target.
        at_init: pattern of our names -> why no source tensor exists; these parameters keep
            the model's initial values.
        arch: the architecture that the tensors belong to, or the backbone's arguments as a string.
        model: class name of the backbone.
    """

    state: StateDict
    arch: Arch | str
    dropped: dict[str, str] = field(default_factory=dict)
    at_init: dict[str, str] = field(default_factory=dict)
    model: str = 'SELNeXt'


@dataclass(frozen=True)
class Rules:
    """Full-match patterns of one source: ``renames`` to our names, ``drops`` with reasons.

    ``of_detectors`` says what to do with a detector of that source.
    """

    renames: tuple[tuple[str, str], ...]
    drops: tuple[tuple[str, str], ...] = ()
    of_detectors: str = '; name the file of a classifier'


CLASSIFIER_ONLY = (
    (
        rf'backbone\.norm3\.{PARAM}',
        'final norm of the classifier, after global pooling: a detector has norms of its own',
    ),
    (rf'head\.fc\.{PARAM}', 'classification head: a detector has none'),
)


# Parts of a detector or segmentor that no classifier has.
BEYOND_CLASSIFIERS = ('rpn_head.', 'roi_head.', 'bbox_head.', 'mask_head.', 'decode_head.')


def first_match(key: str, table: tuple[tuple[str, str], ...]) -> tuple[re.Match, str] | None:
    for pattern, value in table:
        if match := re.fullmatch(pattern, key):
            return match, value
    return None


def rename(state: StateDict, rules: Rules, target: str) -> tuple[StateDict, dict[str, str]]:
    """Rename by ``rules``; return the renamed state and the dropped keys with their reasons.

    For ``target='detection'`` the final norm and the head are dropped.

    Raises:
        UserError: if keys match no rule or are not tensors; the message names up to five.
    """
    mapped, dropped, unknown = {}, {}, []
    for key, tensor in state.items():
        if not hasattr(tensor, 'shape'):
            unknown.append(f'{key} (a {type(tensor).__name__}, not a tensor)')
        elif hit := first_match(key, rules.renames):
            name = hit[0].expand(hit[1])
            if target == 'detection' and (surplus := first_match(name, CLASSIFIER_ONLY)):
                dropped[key] = surplus[1]
            else:
                mapped[name] = tensor
        elif hit := first_match(key, rules.drops):
            dropped[key] = hit[1]
        else:
            unknown.append(key)
    if whole := [key for key in unknown if key.startswith(BEYOND_CLASSIFIERS)]:
        raise UserError(
            f'these are the weights of a detector or segmentor ({preview(whole, 2)}), and a '
            f'classifier is wanted{rules.of_detectors}'
        )
    if unknown:
        raise UserError(
            f'{len(unknown)} of {len(state)} keys are not from this source: {preview(unknown)}; '
            'check --from'
        )
    return mapped, dropped


def size(tensor: Any, axis: int = 0) -> int:
    """Length of an axis; 0 where there is no tensor or no such axis."""
    return tensor.shape[axis] if tensor is not None and len(tensor.shape) > axis else 0


def check_shapes(
    mapped: StateDict, expected: dict[str, Shape], model: str, widths: Iterable[int] = ()
) -> None:
    """Check ``mapped`` against the names and shapes of ``model``.

    Extra counters of batch norms are accepted. Shapes are not reported if keys are missing and
    ``widths`` has a 0, because no key gives that width: all shapes of that stage would look wrong.

    Raises:
        UserError: naming up to five missing, unexpected and misshapen keys each.
    """
    missing = [key for key in expected if key not in mapped]
    surplus = [k for k in mapped if k not in expected and not k.endswith(f'.{COUNTER}')]
    wrong = [
        f'{key} is {tuple(mapped[key].shape)}, expected {shape}'
        for key, shape in expected.items()
        if key in mapped and tuple(mapped[key].shape) != shape and (all(widths) or not missing)
    ]
    problems = {'missing': missing, 'unexpected': surplus, 'of another shape': wrong}
    texts = [f'{len(keys)} {text}: {preview(keys)}' for text, keys in problems.items() if keys]
    if texts:
        raise UserError(f'not a complete {model}; ' + '; '.join(texts))
