"""Class folders as the lists that mmpretrain's CustomDataset reads: ``file label`` per line."""

from pathlib import Path

from selnext_mm.datasets.class_folders import listed
from selnext_mm.datasets.formats.convert import Parts
from selnext_mm.datasets.formats.folders import FolderLabels
from selnext_mm.datasets.formats.records import CLASSIFICATION, SPLITS, preview
from selnext_mm.datasets.formats.stratify import choose_validation, lines_on_split
from selnext_mm.errors import UserError


def list_classes(parts: Parts, folder: Path, fraction: float | None, seed: int) -> dict:
    """Write a list for each split into ``folder``; return the manifest.

    Labels are the alphabetical positions of the class folders of ``train``, in all splits.

    Raises:
        UserError: for a split without images, or with other classes than ``train``, or for a
        single class.
    """
    choices = []
    for labels in dict.fromkeys(labels for labels, _ in parts.values()):
        choices += labels.choices
    train = _images(parts, 'train')
    classes = [name for name, images in train.items() if images]
    if len(classes) == 1:
        labels, source = parts['train']
        assert isinstance(labels, FolderLabels)
        raise UserError(
            f'one class only: the training images in {labels.image_root(source)} are all of '
            f'{classes[0]}, so there is nothing to tell apart; add a folder for each other class, '
            'such as one of images without it, or label boxes to train a detector'
        )
    label_of = {
        image: label for label, name in enumerate(classes) for image in train[name]
    }  # fmt: skip
    lists = {'train': label_of}
    for split in SPLITS[1:]:
        if split in parts:
            lists[split] = _labels(_images(parts, split), classes, split, choices)
    if 'val' not in lists:
        present = {image: (classes[label],) for image, label in label_of.items()}
        chosen = choose_validation(present, fraction, seed)
        lists['val'] = {i: label for i, label in label_of.items() if i in chosen}
        lists['train'] = {i: label for i, label in label_of.items() if i not in chosen}
        choices += lines_on_split(present, chosen, seed)
    splits = {}
    for split in (s for s in SPLITS if s in lists):
        path = folder / f'{split}.txt'
        text = ''.join(f'{listed(i)} {label}\n' for i, label in sorted(lists[split].items()))
        path.write_text(text, encoding='utf-8')
        labels, source = parts.get(split, parts['train'])
        assert isinstance(labels, FolderLabels)
        count = len(lists[split])
        splits[split] = dict(
            image_root=str(labels.image_root(source)),
            annotations=path.name,
            images=count,
            objects=count,
            bytes=path.stat().st_size,
        )
    return dict(
        format='folders',
        task=CLASSIFICATION,
        classes=classes,
        splits=splits,
        choices=list(dict.fromkeys(choices)),
    )


def _images(parts: Parts, split: str) -> dict[str, list[str]]:
    labels, source = parts[split]
    assert isinstance(labels, FolderLabels)
    images = labels.images[source]
    if not any(images.values()):
        raise UserError(
            f'the {split} split is empty: {labels.image_root(source)} has no images in class '
            'folders; fill or remove it'
        )
    return images


def _labels(images, classes, split, choices) -> dict[str, int]:
    extra = [name for name, found in images.items() if found and name not in classes]
    if extra:
        raise UserError(
            f'the class names differ between the splits: {split} has the class folders '
            f'{preview(extra)}, train has images of {preview(classes)} only; give every class one '
            'name, and training images'
        )
    lacks = [name for name in classes if not images.get(name)]
    if lacks:
        choices.append(f'{split} has no images of {preview(lacks)}')
    return {image: label for label, name in enumerate(classes) for image in images.get(name, ())}
