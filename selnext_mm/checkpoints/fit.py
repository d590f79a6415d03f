"""Which tensors of a checkpoint fit a model, reported in one sentence."""

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from selnext_mm.errors import UserError
from selnext_mm.text import preview

Shape = tuple[int, ...]
EMA_KEY = 'ema_state_dict'
WEIGHTS = ('raw', 'ema')
_STAGE_NORM = re.compile(r'(?:backbone\.)?norm(\d+)\.')
HEAD_OF_CLASSIFIER = 'head.'


@dataclass
class Comparison:
    """Names of tensors, grouped by how they are loaded.

    Attributes:
        loaded: in both, with the same shape.
        missing: in the model only; they keep their initial values.
        new: also in the model only, but a checkpoint of this kind cannot have them; not counted.
        unexpected: in the checkpoint only; they are left out.
        misshapen: in both, but with different shapes: name -> (shape in the file, in the model).
    """

    loaded: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    misshapen: dict[str, tuple[Shape, Shape]] = field(default_factory=dict)

    @property
    def counted(self) -> int:
        """Number of the model's tensors that the checkpoint should contain."""
        return len(self.loaded) + len(self.missing) + len(self.misshapen)

    @property
    def class_layers(self) -> list[str]:
        """Misshapen tensors that differ only in their number of outputs: other classes' heads.

        None, if another one outside the backbone has other inputs: then widths differ.
        """
        shapes = {k: v for k, v in self.misshapen.items() if not k.startswith('backbone.')}
        alike = all(file[1:] == own[1:] and own for file, own in shapes.values())
        return list(shapes) if alike else []

    def share(self, prefix: str = '') -> float:
        """Loaded share of the counted tensors whose names start with ``prefix``."""
        names = [*self.loaded, *self.missing, *self.misshapen]
        total = sum(name.startswith(prefix) for name in names)
        return sum(name.startswith(prefix) for name in self.loaded) / total if total else 1.0

    def sentence(self, what: str, source: str) -> str:
        """``what``: loaded n of m tensors from ``source``; and what did not fit."""
        parts = [f'{what}: loaded {len(self.loaded)} of {self.counted} tensors from {source}']
        if self.new:
            parts.append(f'new, at their initial values: {preview(self.new)}')
        heads = self.class_layers
        if heads:
            rows = [f'{k} ({self.misshapen[k][0][0]} -> {self.misshapen[k][1][0]})' for k in heads]
            parts.append(
                'for another number of classes, left at their initial values: ' + preview(rows)
            )
        for title, names in (
            ('missing', self.missing),
            ('unexpected', self.unexpected),
            ('of another shape', [k for k in self.misshapen if k not in heads]),
        ):
            if names:
                parts.append(f'{title}: {preview(names)}')
        return '; '.join(parts)


def compare(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], new_names: Iterable[str] = ()
) -> Comparison:
    """Compare the state dict of a model with the state dict of a file.

    Args:
        own: the model's.
        state: the file's; values that are not tensors count as unexpected.
        new_names: patterns of names in the model that the file may lack.
    """
    result = Comparison()
    patterns = tuple(new_names)
    for name, value in own.items():
        other = state.get(name)
        if not isinstance(other, Tensor):
            is_new = any(re.match(p, name) for p in patterns)
            # Batch norms have this counter only since torch 0.4.1; mmengine ignores it, too.
            if not name.endswith('num_batches_tracked'):
                (result.new if is_new else result.missing).append(name)
        elif other.shape == value.shape:
            result.loaded.append(name)
        else:
            result.misshapen[name] = (tuple(other.shape), tuple(value.shape))
    result.unexpected = [
        str(k) for k, v in state.items() if k not in own or not isinstance(v, Tensor)
    ]
    return result


def state_dict_of(checkpoint: Mapping, source: str) -> dict[str, Tensor]:
    """The weights of a runner's checkpoint or a bare state dict, without ``module.`` in front.

    Raises:
        UserError: if there are none.
    """
    state = checkpoint.get('state_dict', checkpoint)
    if isinstance(state, Mapping):
        state = with_tensors(state)
        if any(isinstance(v, Tensor) for v in state.values()):
            return without_wrappers(state)
    found = preview(map(str, checkpoint)) or 'nothing'
    raise UserError(
        f'{source} contains no weights: no state_dict with tensors in it, but {found}. For '
        'weights of another project see "selnext-mm convert"'
    )


def with_tensors(state: Mapping) -> dict:
    """``state`` with numpy arrays, which some tools store as weights, turned into tensors."""
    np = sys.modules.get('numpy')  # torch works without it; then there are no arrays
    arrays = {
        k: v
        for k, v in state.items()
        if np is not None and isinstance(v, np.ndarray) and v.dtype.kind in 'fiub'
    }
    return {**state, **{k: torch.as_tensor(v) for k, v in arrays.items()}}


def check_finite(own: Iterable[str], state: Mapping[str, Tensor], source: str) -> None:
    """Raise :class:`UserError` if weights of the model are NaN; it would silently find nothing."""
    bad = [
        name
        for name in own
        if isinstance(value := state.get(name), Tensor)
        and value.is_floating_point()
        and bool(value.isnan().any())
    ]
    if bad:
        raise UserError(
            f'{source}: {len(bad)} of {len(state)} tensors hold NaN ({preview(bad, 3)}): the '
            'training had gone wrong when it was written. Take an earlier checkpoint'
        )


def choose_weights(checkpoint: Mapping, weights: str = 'raw') -> tuple[dict, str]:
    """The raw or the averaged weights of a run with mmengine's ``EMAHook``, and which they are.

    The hook stores the averaged weights, with which the run was evaluated, as ``state_dict``, and
    the raw ones as ``ema_state_dict``, with names ``module.NAME``.

    Args:
        checkpoint: a runner's checkpoint or a bare state dict.
        weights: ``'raw'``, or ``'ema'`` for the averaged ones.

    Raises:
        UserError: for any other value, or for averaged weights that the file does not have.
    """
    if weights not in WEIGHTS:
        raise UserError(f"weights={weights!r}; choose 'raw' or 'ema'")
    state = checkpoint.get('state_dict', checkpoint)
    other = checkpoint.get(EMA_KEY)
    if not isinstance(other, Mapping) or not isinstance(state, Mapping):
        if weights == 'ema':
            raise UserError(
                f'weights={weights!r}, but the file has no averaged weights ({EMA_KEY!r}, which '
                'EMAHook writes); leave it out'
            )
        return dict(state) if isinstance(state, Mapping) else {}, ''
    if weights == 'ema':
        return dict(state), "'state_dict', the averaged weights"
    raw = {str(k).removeprefix('module.'): v for k, v in other.items() if k != 'steps'}
    return {**state, **raw}, f"{EMA_KEY!r}, the raw weights ('ema' takes the others)"


def without_final_norm(
    own: Iterable[str], state: Mapping[str, Tensor], is_classifier: bool = False
) -> tuple[dict[str, Tensor], list[str]]:
    """``state`` without a classifier's final norm, for a detector; and the names left out.

    A classifier normalises the mean of the last map, a detector all positions of several maps, but
    the norms have the same names (``norm3``). If the file has the norm of only one stage and the
    model has several, the file is treated as a classifier's.

    Args:
        own: names of the model.
        state: the file's.
        is_classifier: the file is known to be a classifier's; needed if the model has one map only.
    """
    matches = {name: _STAGE_NORM.match(name) for name in state}
    stages = {match[1] for match in matches.values() if match}
    wanted = {match[1] for match in map(_STAGE_NORM.match, own) if match}
    if len(stages) != 1 or not stages <= wanted or (len(wanted) == 1 and not is_classifier):
        return dict(state), []
    final = [name for name, match in matches.items() if match]
    return {name: value for name, value in state.items() if name not in final}, final


def classifier_for_maps(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """:func:`without_final_norm` by heads: the file has a classifier's, the model does not."""
    heads = (any(str(k).startswith(HEAD_OF_CLASSIFIER) for k in names) for names in (state, own))
    in_file, in_model = heads
    return without_final_norm(own, state, in_file and not in_model)


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``state`` without the parts that wrappers add to its names.

    These are a leading ``module.`` from data-parallel training, and ``_orig_mod.`` anywhere from
    ``torch.compile``.
    """
    result = {}
    for key, value in state.items():
        name = '.'.join(part for part in str(key).split('.') if part != '_orig_mod')
        while name.startswith('module.'):
            name = name.removeprefix('module.')
        result[name] = value
    return result


def without_prefix(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str]:
    """``state`` without the first part of its names, and that part; unchanged and '' if names fit.

    Other trainers keep the model in an attribute, ``model.`` or ``net.``. The part is removed if
    all names share it, none fits with it, and all names of the model are there without it.
    """
    heads = {str(key).partition('.')[0] for key in state}
    if len(heads) == 1 and not any(key in own for key in state):
        head = heads.pop() + '.'
        cut = {str(key).removeprefix(head): value for key, value in state.items()}
        if all(key in cut for key in own if not key.endswith('num_batches_tracked')):
            return cut, head
    return dict(state), ''


def stored_classes(checkpoint: Mapping) -> tuple[str, ...] | None:
    """The class names that a run stored with its weights; None if there are none."""
    meta = checkpoint.get('meta')
    dataset = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    if not isinstance(dataset, Mapping):
        return None
    classes = dataset.get('classes', dataset.get('CLASSES'))
    if isinstance(classes, list | tuple) and all(isinstance(c, str) for c in classes):
        return tuple(classes)
    return None
