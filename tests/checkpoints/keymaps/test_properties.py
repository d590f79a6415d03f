"""Key maps on random sets of keys: every key is accounted for, or there is one message."""

import functools

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selnext_mm.checkpoints.keymaps.sources import KEY_MAPS, TARGETS, convert_keys
from selnext_mm.errors import UserError
from selnext_mm.models.backbones.selnext import SELNeXt
from tests.oracles.official_selnext_keys import TOY, official_table

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
SHAPES = st.lists(st.integers(0, 4), max_size=4)
WORDS = (
    *('stages', 'downsample_layers', 'norm', 'head', 'backbone', 'module', 'layer1', 'fc', 'na'),
    *('patch_embed', 'blocks', 'gamma', 'dwconv', 'pwconv1', 'conv1', 'bn1', 'spatial_mixing'),
    *('weight', 'bias', 'running_mean', '0', '1', '2', '9', '99'),
)
PARTS = st.sampled_from(WORDS)
KEYS = st.lists(PARTS, min_size=1, max_size=5).map('.'.join) | st.text(max_size=12)
OFFICIAL = {name: torch.zeros(shape) for name, shape in official_table(*TOY, 10).items()}


def accounted(state, source, target):
    """The result of a conversion that leaves no key out, None where it is refused."""
    before = set(state)
    try:
        result = convert_keys(state, source, target)
    except UserError as error:
        assert '\n' not in str(error)  # noqa: PT017 - either outcome is fine
        return None
    assert set(state) == before, 'the input was changed'
    assert len(result.state) + len(result.dropped) == len(state)
    assert set(result.dropped) <= before
    assert all(result.dropped.values()), 'a key was dropped without a reason'
    return result


@pytest.mark.parametrize('source', KEY_MAPS)
@FUZZ
@given(shapes=st.dictionaries(KEYS, SHAPES, max_size=12), target=st.sampled_from(TARGETS))
def test_any_keys_are_mapped_or_refused(source, shapes, target):
    result = accounted({k: torch.zeros(s) for k, s in shapes.items()}, source, target)
    assert result is None or set(result.dropped) <= set(shapes)


@pytest.mark.parametrize('source', KEY_MAPS)
@FUZZ
@given(
    values=st.dictionaries(
        KEYS, st.none() | st.integers() | st.text(max_size=3) | st.lists(st.none()), max_size=5
    )
)
def test_values_that_are_no_tensors_are_refused(source, values):
    with pytest.raises(UserError):
        convert_keys(values, source)


@st.composite
def damaged(draw):
    """The official weights with some keys removed, renamed or of another shape."""
    state = dict(OFFICIAL)
    for _ in range(draw(st.integers(1, 4))):
        key = draw(st.sampled_from(sorted(state)))
        action = draw(st.sampled_from(['remove', 'rename', 'reshape']))
        value = state.pop(key)
        if action == 'rename':
            state[draw(KEYS)] = value
        elif action == 'reshape':
            state[key] = torch.zeros(draw(SHAPES))
    return state


@FUZZ
@given(state=damaged(), target=st.sampled_from(TARGETS))
def test_a_damaged_checkpoint_is_refused_or_fits_the_model_it_names(state, target):
    result = accounted(state, 'selnext', target)
    if result is None:
        return
    out = (3,) if target == 'classifier' else (0, 1, 2, 3)
    arch = dict(depths=list(result.arch.depths), channels=list(result.arch.channels))
    scale = {} if result.arch.layer_scale else dict(layer_scale_init_value=0)
    model = SELNeXt(arch, out_indices=out if len(out) > 1 else -1, **scale)
    own = {f'backbone.{k}': v.shape for k, v in model.state_dict().items()}
    taken = {k: v.shape for k, v in result.state.items() if k.startswith('backbone.')}
    assert {k: own.get(k) for k in taken} == taken


@functools.cache
def converted(target):
    return convert_keys(OFFICIAL, 'selnext', target)


@FUZZ
@given(order=st.randoms(use_true_random=False), target=st.sampled_from(TARGETS))
def test_the_order_of_the_keys_does_not_matter(order, target):
    keys = list(OFFICIAL)
    order.shuffle(keys)
    result = accounted({k: OFFICIAL[k] for k in keys}, 'selnext', target)
    same = converted(target)
    assert result.state.keys() == same.state.keys()
    assert result.arch == same.arch
    assert result.dropped == same.dropped
