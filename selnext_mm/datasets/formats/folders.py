"""Class folders: ``train/<class>/*.jpg``, or ``<class>/*.jpg`` without splits."""

import os
import re
from collections import defaultdict
from pathlib import Path

from selnext_mm.datasets.formats.files import Tree, hidden, join, split_of
from selnext_mm.datasets.formats.records import Labels, preview
from selnext_mm.errors import UserError
from selnext_mm.text import counted


def _top(tree: Tree) -> tuple[str, list[str], set[str]]:
    """(first folder with more than one folder of images, names below it, these folders)."""
    root = ''
    while True:
        prefix = f'{root}/' if root else ''
        below = [i[len(prefix) :] for i in tree.images if i.startswith(prefix)]
        tops = {n.partition('/')[0] for n in below if '/' in n}
        first = next(iter(tops), '')
        # A single nested folder, as unpacked from archives.
        if len(tops) != 1 or split_of(first) or not _mostly(below, 2):
            return root, below, tops
        root = join(root, first)


def single_class(tree: Tree) -> str:
    """The folder that has the images, if one folder has most of them and is no split; else ''."""
    root, below, tops = _top(tree)
    first = next(iter(tops), '')
    alone = len(tops) == 1 and _mostly(below, 1) and not split_of(first)
    return join(root, first) if alone else ''


def layout(tree: Tree) -> dict[str, str]:
    """Split -> folder whose subfolders are classes; {} if the images are not in such folders.

    Images beside the folders of splits or classes are ignored if they are the minority.
    """
    root, below, tops = _top(tree)
    if not _mostly(below, 1):
        return {}
    inside = {top: [n for n in below if n.startswith(f'{top}/')] for top in tops}
    nested = {top for top, names in inside.items() if _mostly(names, 2)}
    splits = {top: split_of(top) for top in nested if split_of(top)}
    # Two splits, or one beside other folders, are not classes; a class may be named "train".
    apart = len(set(splits.values())) == len(splits) and 'train' in splits.values()
    if apart and (len(splits) > 1 or splits.keys() == nested):
        return {s: join(root, top) for top, s in sorted(splits.items())}
    return {'': root} if len(tops) > 1 and not all(map(split_of, tops)) else {}


def _mostly(names: list[str], depth: int) -> bool:
    """Whether most of the images are at least ``depth`` levels down."""
    return 2 * sum(n.count('/') >= depth for n in names) > len(names)


FOLD = re.compile(r'(cv|k)?[ _-]?folds?[ _-]?\d+', re.IGNORECASE)  # of a cross-validation


class FolderLabels(Labels):
    """Images in one folder per class.

    Args:
        tree: the folder.
    """

    format = 'folders'

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self.tree = tree
        self.roots = layout(tree)
        if not self.roots:
            alone = single_class(tree)
            one = f' but one ({alone})' if alone else ''
            raise UserError(
                f'{tree.root} has no class folders{one}: expected train/<class>/*.jpg and '
                'val/<class>/*.jpg, or <class>/*.jpg; leave out --format, if the labels are '
                'of another kind'
            )
        self._no_empty_split()
        self._tell_strays()
        # split -> class -> names below the split's folder
        self.images = {s: self._classes(folder) for s, folder in self.roots.items()}
        self.splits = tuple(self.images)
        for split, classes in self.images.items():
            self._tell_equal_insides(self.image_root(split), classes)

    def _no_empty_split(self) -> None:
        if '' in self.roots:
            return
        parent = self.tree.root / next(iter(self.roots.values())).rpartition('/')[0]
        for path in sorted(parent.iterdir()):
            split = split_of(path.name)
            if path.is_dir() and not hidden(path.name) and split and split not in self.roots:
                name = os.path.relpath(path, self.tree.root).replace(os.sep, '/')
                bare = sum(i.startswith(f'{name}/') for i in self.tree.images)
                if split == 'test' and bare:
                    self.choices.append(
                        f'no test split: its {counted(bare, "image")} are in no class folders'
                    )
                    continue
                raise UserError(
                    f'the {split} split is empty: {path} has no images in class folders; fill or '
                    'remove it (a missing val split is made)'
                )

    def _tell_strays(self) -> None:
        prefixes = tuple(f'{r}/' if r else '' for r in self.roots.values())
        strays = [
            image
            for image in self.tree.images
            if not any(image.startswith(p) and '/' in image[len(p) :] for p in prefixes)
            and not split_of(image.partition('/')[0])
        ]
        strays += [
            image
            for image in self.tree.images
            if any(p and image.startswith(p) and '/' not in image[len(p) :] for p in prefixes)
        ]
        if strays:
            self.choices.append(
                f'images beside the class folders, left out: {len(strays)} ({preview(strays)})'
            )

    def _classes(self, folder: str) -> dict[str, list[str]]:
        prefix = f'{folder}/' if folder else ''
        found = defaultdict(list)
        for image in self.tree.images:
            name = image[len(prefix) :]
            if image.startswith(prefix) and '/' in name:
                found[name.partition('/')[0]].append(name)
        for entry in sorted(os.listdir(self.tree.root / folder)):
            path = self.tree.root / folder / entry
            if path.is_dir() and not hidden(entry):
                found.setdefault(entry, [])
        empty = [name for name, images in sorted(found.items()) if not images]
        if empty:
            self.choices.append(f'class folders without an image: {preview(empty)}')
        return dict(sorted(found.items()))

    def _tell_equal_insides(self, folder: Path, classes: dict[str, list[str]]) -> None:
        """Report that the classes may be one level deeper, if all contain the same subfolders."""
        full = {name: images for name, images in classes.items() if images}
        inner = {n: {i.split('/')[1] for i in found} for n, found in full.items()}
        alike = sorted(set.intersection(*inner.values())) if len(full) > 1 else []
        if len(alike) < 2 or any(i.count('/') < 2 for found in full.values() for i in found):
            self._tell_insides(full)
            return
        inside = f'in {folder} each of {preview(list(full))} has the folders {preview(alike)}'
        if all(map(FOLD.fullmatch, full)):
            last = list(full)[-1]
            raise UserError(
                f'{inside}: these are folds of a cross-validation, no classes. Make {last} the '
                'folder val/, put the images of the others together as '
                f'train/{alike[0]}/, train/{alike[1]}/, ..., and name the folder that has both'
            )
        self.choices.append(
            f'{inside}: the outer ones are taken for the classes; if the inner ones are meant, '
            f'give each one folder, {alike[0]}/, {alike[1]}/, ..., with all of its images'
        )

    def _tell_insides(self, classes: dict[str, list[str]]) -> None:
        """Report folders inside class folders, unless all are called the same (``images``)."""
        inner = {i.rpartition('/')[0] for found in classes.values() for i in found}
        inner = {'/'.join(name.split('/')[:2]) for name in inner if '/' in name}
        if len({name.partition('/')[2] for name in inner}) > 1:
            self.choices.append(
                f'folders inside class folders are no classes: {preview(sorted(inner))}; if they '
                'are meant, move each one up, in place of the folder around it'
            )

    def image_root(self, split: str) -> Path:
        return self.tree.root / self.roots[split]

    def files(self) -> list[Path]:
        return []

    def image_files(self) -> list[str]:
        return [os.path.join(self.tree.root, name) for name in self.tree.images]
