"""Class folders: ``train/<class>/*.jpg``, or ``<class>/*.jpg`` without splits."""

import os
from collections import defaultdict
from pathlib import Path

from selnext_mm.datasets.formats.files import Tree, hidden, join, split_of
from selnext_mm.datasets.formats.records import Labels, preview
from selnext_mm.errors import UserError


def layout(tree: Tree) -> dict[str, str]:
    """Split -> folder whose folders are classes; {} if the images are in no such folders."""
    root, tops = '', {i.partition('/')[0] for i in tree.images}
    # One folder in the other, as archives unpack.
    while len(tops) == 1 and not split_of(next(iter(tops))):
        inner = join(root, next(iter(tops)))
        below = {i[len(inner) + 1 :].partition('/') for i in tree.images}
        if not all(rest for _, _, rest in below):
            break
        root, tops = inner, {first for first, _, _ in below}
    prefix = f'{root}/' if root else ''
    depths = {i[len(prefix) :].count('/') for i in tree.images}
    splits = {top: split_of(top) for top in tops if (tree.root / root / top).is_dir()}
    if splits and all(splits.values()) and len(set(splits.values())) == len(splits):
        return {s: join(root, top) for top, s in splits.items()} if min(depths) >= 2 else {}
    return {'': root} if depths and min(depths) >= 1 and len(tops) > 1 else {}


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
            raise UserError(
                f'{tree.root} has no class folders: expected train/<class>/*.jpg and '
                'val/<class>/*.jpg, or <class>/*.jpg; leave out --format, if the labels are '
                'of another kind'
            )
        self._no_empty_split()
        # split -> class -> names below the split's folder
        self.images = {s: self._classes(folder) for s, folder in self.roots.items()}
        self.splits = tuple(self.images)

    def _no_empty_split(self) -> None:
        if '' in self.roots:
            return
        parent = self.tree.root / next(iter(self.roots.values())).rpartition('/')[0]
        for path in sorted(parent.iterdir()):
            split = split_of(path.name)
            if path.is_dir() and not hidden(path.name) and split and split not in self.roots:
                raise UserError(
                    f'the {split} split is empty: {path} has no images in class folders; fill or '
                    'remove it (a missing val split is made)'
                )

    def _classes(self, folder: str) -> dict[str, list[str]]:
        prefix = f'{folder}/' if folder else ''
        found = defaultdict(list)
        for image in self.tree.images:
            if image.startswith(prefix):
                name = image[len(prefix) :]
                found[name.partition('/')[0]].append(name)
        for entry in sorted(os.listdir(self.tree.root / folder)):
            path = self.tree.root / folder / entry
            if path.is_dir() and not hidden(entry):
                found.setdefault(entry, [])
        empty = [name for name, images in sorted(found.items()) if not images]
        if empty:
            self.choices.append(f'class folders without an image: {preview(empty)}')
        return dict(sorted(found.items()))

    def image_root(self, split: str) -> Path:
        return self.tree.root / self.roots[split]

    def files(self) -> list[Path]:
        return []

    def image_files(self) -> list[str]:
        return [os.path.join(self.tree.root, name) for name in self.tree.images]
