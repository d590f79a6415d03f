"""A generated validation split: the same in every run, and with every class."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from selnext_mm.errors import UserError

FRACTION = 0.2
MOST = 5000  # images; as many as in COCO's validation set


def _rank(name: str, seed: int) -> bytes:
    """A random number that depends only on the name and the seed."""
    text = f'{seed}/{name}'.encode('utf-8', 'surrogateescape')
    return hashlib.blake2b(text, digest_size=8).digest()


def choose_validation(
    classes: Mapping[str, Iterable[str]], fraction: float | None = None, seed: int = 0
) -> set[str]:
    """Names of the images to set aside for validation.

    The rarest class chooses first (Sechidis et al., 2011): of its unassigned images, as many are
    set aside as its share still lacks, at least one if it has two or more. Images without objects
    fill the rest. A hash of seed and name decides which images, so neither the order of the
    listing nor the machine matters.

    Args:
        classes: image name -> its classes.
        fraction: share of the images to set aside; default a fifth, at most 5000.
        seed: different seeds give different choices.

    Raises:
        UserError: for a fraction that leaves one of the two splits empty.
    """
    total = len(classes)
    wanted = round(total * (FRACTION if fraction is None else fraction))
    if fraction is None:
        wanted = max(1, min(wanted, MOST))
    if not 0 < wanted < total:
        raise UserError(
            f'a validation split of {wanted} of {total} images leaves nothing for '
            f'{"validation" if wanted < 1 else "training"}; label more images, or give another '
            '--val FRACTION or --val DIR'
        )
    share = wanted / total
    images, chosen, counts = defaultdict(list), set(), Counter()
    order = sorted(classes, key=lambda name: _rank(name, seed))
    for name in order:
        for label in set(classes[name]):
            images[label].append(name)
    placed: set[str] = set()

    def put(name: str) -> None:
        chosen.add(name)
        counts.update(set(classes[name]))

    for label in sorted(images, key=lambda c: (len(images[c]), c)):
        target = round(share * len(images[label]))
        if len(images[label]) >= 2:
            target = min(max(1, target), len(images[label]) - 1)
        for name in images[label]:
            if name not in placed and counts[label] < target and len(chosen) < wanted:
                put(name)
        placed.update(images[label])
    rest = [n for n in order if n not in chosen]
    # First those without objects; if these do not suffice, any.
    rest.sort(key=lambda n: bool(classes[n]))
    for name in rest[: wanted - len(chosen)]:
        put(name)
    return chosen
