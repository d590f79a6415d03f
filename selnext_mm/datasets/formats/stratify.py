"""A generated validation split: the same in every run, and with every class."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from selnext_mm.datasets.formats.records import preview
from selnext_mm.errors import UserError

FRACTION = 0.2
MOST = 5000  # images; as many as in COCO's validation set
NOTHING = ''  # the class of the images without objects


def _rank(name: str, seed: int) -> bytes:
    """A random number that depends only on the name and the seed."""
    text = f'{seed}/{name}'.encode('utf-8', 'surrogateescape')
    return hashlib.blake2b(text, digest_size=8).digest()


def choose_validation(
    classes: Mapping[str, Iterable[str]], fraction: float | None = None, seed: int = 0
) -> set[str]:
    """Names of the images to set aside for validation.

    Every class with two or more images gets at least one in each of the two splits, and its share,
    rounded down. What is then missing of the number wanted goes to the classes that lost most by
    the rounding. Images without objects count as one more class. The rarest class chooses first
    (Sechidis et al., 2011). A hash of seed and name decides between images and between classes of
    equal rights, so neither the order of the listing nor the alphabet nor the machine matters.

    With many small classes the split is larger than the share. It is smaller if the other images
    are the last ones of a class. Where images have several classes, a class may stay without a
    validation image: see :func:`lines_on_split`.

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
    labels = {name: set(found) or {NOTHING} for name, found in classes.items()}
    images: dict[str, list[str]] = defaultdict(list)
    order = sorted(labels, key=lambda name: _rank(name, seed))
    for name in order:
        for label in labels[name]:
            images[label].append(name)
    # The share of each class, rounded down, and what the rounding took, in 1 / total.
    share = {label: divmod(wanted * len(names), total) for label, names in images.items()}
    least = {label: min(len(names) - 1, label != NOTHING) for label, names in images.items()}
    most = {label: max(least[label], n + bool(rest)) for label, (n, rest) in share.items()}
    extra = sum(max(0, n * total - wanted * len(images[c])) for c, n in least.items()) // total
    chosen: set[str] = set()
    counts: Counter[str] = Counter()

    def spare(name: str) -> bool:
        """Whether training keeps another image of each of its classes."""
        return all(len(images[c]) - counts[c] > 1 or c == NOTHING for c in labels[name])

    def room(name: str) -> bool:
        """Whether none of its classes has its share."""
        return all(counts[c] < most[c] for c in labels[name])

    def fill(label: str | None, goal: int, limit: int, full: bool = False) -> None:
        """Choose until ``label``, or for None the split, has ``goal`` images, or the split
        ``limit``; with ``full`` also images with another class that has its share."""
        for name in order if label is None else images[label]:
            now = len(chosen) if label is None else counts[label]
            if now >= goal or len(chosen) >= limit:
                return
            if name not in chosen and spare(name) and (full or room(name)):
                chosen.add(name)
                counts.update(labels[name])

    ranks = {label: _rank(label, seed) for label in images}
    rarest = sorted(images, key=lambda c: (len(images[c]), ranks[c]))
    for full in (False, True):
        for label in rarest:
            fill(label, least[label], total, full)
    for label in rarest:
        fill(label, share[label][0], wanted + extra)
    for label in sorted(images, key=lambda c: (-share[c][1], ranks[c])):
        fill(label, most[label], wanted)
    for full in (False, True):
        fill(None, wanted, wanted, full)
    return chosen or set(order[:1])  # every image is the last one of a class


def lines_on_split(
    classes: Mapping[str, Iterable[str]], chosen: set[str], seed: int
) -> Iterable[str]:
    """What is said about a split made by :func:`choose_validation`."""
    yield (
        f'val split made: {len(chosen)} of {len(classes)} images, every class by its share, at '
        f'least one image, seed {seed} (--val FRACTION or DIR gives another)'
    )
    for where, names in (('val', chosen), ('train', classes.keys() - chosen)):
        there = {label for name in names for label in classes[name]}
        lacks = sorted({label for found in classes.values() for label in found} - there)
        if lacks:
            yield (
                f'classes without an image in the {where} split, as there is one image only or '
                f'each is the last one of a class: {preview(lacks)}'
            )
