"""The sentence about loading: what is counted, what is only said."""

import pytest
import torch

from selnext_mm.checkpoints.files import take_weights
from selnext_mm.checkpoints.fit import check_finite, compare, state_dict_of, stored_classes
from selnext_mm.errors import UserError


def tensors(**shapes):
    return {k.replace('__', '.'): torch.zeros(shape) for k, shape in shapes.items()}


OWN = tensors(backbone__a=(2, 3), backbone__b=(4,), head__fc_cls=(3, 5), norm0=(2,))


def test_every_name_goes_into_one_group():
    state = tensors(backbone__a=(2, 3), backbone__b=(9,), head__fc_cls=(81, 5), extra=(1,))
    result = compare(OWN, {**state, 'epoch': 3}, ['norm'])
    assert result.loaded == ['backbone.a']
    assert result.new == ['norm0']
    assert result.missing == []
    assert result.unexpected == ['extra', 'epoch']
    assert result.misshapen == {'backbone.b': ((9,), (4,)), 'head.fc_cls': ((81, 5), (3, 5))}
    assert (len(result.loaded), result.counted) == (1, 3)
    assert result.share('backbone.') == 0.5
    assert result.share('neck.') == 1


def test_the_sentence_names_the_numbers_of_classes():
    text = compare(OWN, tensors(backbone__a=(2, 3), head__fc_cls=(81, 5))).sentence('M', 'f.pth')
    assert text.startswith('M: loaded 1 of 4 tensors from f.pth; for another number of classes')
    assert 'head.fc_cls (81 -> 3)' in text
    assert 'missing: backbone.b, norm0' in text


def test_other_widths_are_no_other_classes():
    own = tensors(head__shared=(256, 64), head__fc_cls=(4, 256))
    result = compare(own, tensors(head__shared=(128, 64), head__fc_cls=(4, 128)))
    assert result.class_layers == []
    assert 'classes' not in result.sentence('M', 'f.pth')
    assert 'of another shape: head.shared, head.fc_cls' in result.sentence('M', 'f.pth')


def test_a_whole_checkpoint_has_nothing_to_say():
    assert compare(OWN, OWN).sentence('M', 'f') == 'M: loaded 4 of 4 tensors from f'


def test_counters_of_batches_are_not_missed():
    own = {**OWN, 'bn.num_batches_tracked': torch.tensor(0)}
    assert compare(own, OWN).missing == []


def test_weights_are_found_without_the_prefix_of_a_wrapper():
    state = {f'module.{k}': v for k, v in OWN.items()}
    assert state_dict_of({'state_dict': state, 'meta': {}}, 'f').keys() == OWN.keys()
    assert state_dict_of(state, 'f').keys() == OWN.keys()


@pytest.mark.parametrize(
    'content', [{}, {'state_dict': {}}, {'state_dict': [1]}, {'epoch': 1}, {'model': dict(OWN)}]
)
def test_a_file_without_weights_is_told(content):
    with pytest.raises(UserError, match='contains no weights'):
        state_dict_of(content, 'f.pth')


def test_class_names_are_read_where_runners_store_them():
    assert stored_classes({'meta': {'dataset_meta': {'classes': ['a', 'b']}}}) == ('a', 'b')
    assert stored_classes({'meta': {'dataset_meta': {'CLASSES': ('a',)}}}) == ('a',)
    for other in (
        {},
        {'meta': 3},
        {'meta': {'dataset_meta': None}},
        {'meta': {'dataset_meta': {}}},
    ):
        assert stored_classes(other) is None


@pytest.mark.parametrize('key', [None, 'state_dict'])
@pytest.mark.parametrize('array', [False, True])
def test_weights_as_arrays_are_tensors(key, array):
    own = {'module.a': torch.arange(3.0), 'module.n': torch.tensor(7)}
    kept = {name: value.numpy() if array else value for name, value in own.items()}
    checkpoint = kept if key is None else {key: kept, 'epoch': 1}
    state = state_dict_of(checkpoint, 'f.pth')
    taken, _ = take_weights(checkpoint)
    assert list(state) == ['a', 'n']
    for name, value in own.items():
        assert torch.equal(state[name.removeprefix('module.')], value)
        assert torch.equal(taken[name], value)


def test_a_file_without_weights_is_named():
    for read in (lambda c: state_dict_of(c, 'f.pth'), lambda c: take_weights(c, source='f.pth')):
        with pytest.raises(UserError, match=r'^f\.pth.*no weights'):
            read({'state': {'a': 'text'}, 'b': 1})


def test_weights_that_are_no_numbers_are_told():
    state = {'a': torch.tensor([1.0, float('nan')]), 'b': torch.tensor([float('-inf')])}
    state['n'] = torch.tensor(3)
    with pytest.raises(UserError, match=r'^f\.pth: 1 of 3 tensors hold NaN \(a\).*an earlier'):
        check_finite(['a', 'b', 'n', 'other'], state, 'f.pth')
    check_finite(['b', 'n'], state, 'f.pth')
