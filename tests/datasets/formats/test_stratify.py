"""The validation split that is made."""

import random
from collections import Counter

import pytest

from selnext_mm.datasets.formats.stratify import choose_validation
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
