"""The validation split that is made."""

import random
from collections import Counter

import pytest

from selnext_mm.datasets.formats.stratify import choose_validation, lines_on_split
from selnext_mm.errors import UserError


def share(classes, chosen):
    total, val = Counter(), Counter()
    for name, labels in classes.items():
        total.update(set(labels))
        val.update(set(labels) if name in chosen else ())
    return {c: val[c] / n for c, n in total.items()}


def mixed(n=1000, seed=0):
    """Common, less common and rare classes, several in an image."""
    rng = random.Random(seed)
    odds = dict(person=0.7, car=0.3, dog=0.1, bus=0.03, owl=0.005)
    return {f'{i}.jpg': [c for c, p in odds.items() if rng.random() < p] for i in range(n)}


@pytest.mark.parametrize('fraction', [0.1, 0.2, 0.5])
def test_every_class_has_its_share(fraction):
    classes = mixed()
    chosen = choose_validation(classes, fraction)
    assert len(chosen) == 1000 * fraction
    found = share(classes, chosen)
    for label, wanted in dict(person=0.02, car=0.02, dog=0.02, bus=0.05, owl=0.3).items():
        assert found[label] == pytest.approx(fraction, abs=wanted), label
    bare = {n for n, labels in classes.items() if not labels}
    assert len(bare & chosen) / len(bare) == pytest.approx(fraction, abs=0.1)


def test_the_choice_depends_on_names_and_seed_alone():
    classes = mixed(200)
    chosen = choose_validation(classes)
    names = list(classes)
    random.Random(3).shuffle(names)
    assert choose_validation({n: classes[n][::-1] for n in names}) == chosen
    assert choose_validation(classes, seed=1) != chosen
    assert len(chosen) == 40


def test_a_class_of_two_images_is_in_both_splits():
    classes = {f'{i}.jpg': ['cat'] for i in range(20)} | {'a.jpg': ['owl'], 'b.jpg': ['owl']}
    classes |= {'c.jpg': ['once', 'cat']}
    chosen = choose_validation(classes, 0.1)
    assert len(chosen & {'a.jpg', 'b.jpg'}) == 1
    assert 'c.jpg' not in chosen


def test_a_large_set_keeps_most_for_training():
    classes = {f'{i}': ['cat'] for i in range(60_000)}
    assert len(choose_validation(classes)) == 5000
    assert len(choose_validation(classes, 0.2)) == 12_000


def test_two_images_are_enough_and_one_is_not():
    assert len(choose_validation({'a': ['x'], 'b': ['x']})) == 1
    with pytest.raises(UserError, match='1 of 1 images leaves nothing for training'):
        choose_validation({'a': ['x']})
    with pytest.raises(UserError, match='0 of 10 images leaves nothing for validation'):
        choose_validation({str(i): ['x'] for i in range(10)}, 0.01)


def in_both(classes, chosen):
    """Classes with an image in val, and those with one in train."""
    return [
        {label for name in names for label in classes[name]}
        for names in (chosen, classes.keys() - chosen)
    ]


@pytest.mark.parametrize('fraction', [None, 0.05, 0.9])
@pytest.mark.parametrize(('number', 'each'), [(10, 3), (100, 8), (100, 4), (37, 9), (15, 2)])
def test_every_small_class_is_in_both_splits(number, each, fraction):
    classes = {f'{c:03}/{i}': [f'c{c:03}'] for c in range(number) for i in range(each)}
    chosen = choose_validation(classes, fraction)
    val, train = in_both(classes, chosen)
    assert len(val) == len(train) == number
    share = fraction or 0.2
    counts = Counter(classes[name][0] for name in chosen)
    wanted = min(max(share * each, 1), each - 1)
    assert set(counts.values()) <= {int(wanted), int(wanted) + 1}
    assert len(chosen) >= min(round(share * len(classes)), (each - 1) * number)
    assert len(chosen) <= max(round(share * len(classes)), number)


def test_small_classes_take_nothing_from_a_large_one():
    classes = {f's{c}/{i}': [f's{c:02}'] for c in range(100) for i in range(3)}
    classes |= {f'large/{i}': ['large'] for i in range(300)}
    chosen = choose_validation(classes)
    assert sum(name.startswith('large') for name in chosen) == 60
    assert len(chosen) == 160


def test_what_rounding_leaves_goes_to_no_certain_letters():
    classes = {f'{c:03}/{i}': [f'{c:03}'] for c in range(100) for i in range(8)}
    second = []
    for seed in range(3):
        counts = Counter(classes[name][0] for name in choose_validation(classes, seed=seed))
        assert sum(counts.values()) == 160
        second.append({label for label, n in counts.items() if n == 2})
    assert second[0] != second[1] != second[2]
    assert all(20 < sum(label < '050' for label in found) < 40 for found in second)


@pytest.mark.parametrize('seed', range(5))
def test_small_classes_that_share_images_are_in_both_splits(seed):
    rng = random.Random(seed)
    labels = [f'{i:02}' for i in range(60)]
    classes = {f'{i}.jpg': rng.sample(labels, rng.randint(0, 3)) for i in range(150)}
    number = Counter(label for found in classes.values() for label in found)
    chosen = choose_validation(classes, seed=seed)
    val, train = in_both(classes, chosen)
    assert {label for label, n in number.items() if n > 1} <= val
    assert set(number) == train


def test_a_class_that_a_split_lacks_is_named():
    classes = {f'{i}': ['cat'] for i in range(9)} | {'a': ['owl'], 'b': ['ape', 'cat']}
    chosen = choose_validation(classes)
    first, second = lines_on_split(classes, chosen, 0)
    assert first.startswith('val split made: 2 of 11 images, every class by its share, at least')
    assert second.startswith('classes without an image in the val split')
    assert second.endswith(': ape, owl')
    assert not chosen & {'a', 'b'}
    first, *rest = lines_on_split({'a': ['x'], 'b': ['y']}, {'b'}, 0)
    assert [line.split(' split')[0].split()[-1] for line in rest] == ['val', 'train']
