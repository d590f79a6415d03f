"""Where the images are that a COCO file lists: its names may be of another machine."""

from collections import Counter, defaultdict
from pathlib import Path

from selnext_mm.datasets.formats.coco_files import split_of_file
from selnext_mm.datasets.formats.files import IMAGE_FOLDERS, Tree, join
from selnext_mm.datasets.formats.records import preview
from selnext_mm.errors import UserError
from selnext_mm.text import counted

SAMPLE = 50  # number of names with which the folder of the images is found
OTHER_SPLIT = 4  # the rank of folders that are named after another split


class ImagePlaces:
    """The folders in which the images of one COCO file may be.

    Args:
        tree: the folder of the data set.
        file: the name of the COCO file in it.
    """

    def __init__(self, tree: Tree, file: str) -> None:
        self.tree, self.path = tree, tree.path(file)
        self.own, self.split = file.rpartition('/')[0], split_of_file(file)

    def rank(self, folder: str) -> int:
        """Folders near the file first, then those named after the split, then those named after
        images; other splits last."""
        if folder == self.own or (self.own and folder.startswith(f'{self.own}/')):
            return 0
        word = split_of_file(folder) if folder else ''
        if word:
            return 1 if word == self.split else OTHER_SPLIT
        return 2 if folder.rpartition('/')[2] in IMAGE_FOLDERS else 3

    def locate(self, spellings: dict, choices: list[str]) -> tuple[Path, dict]:
        """(image root, image id -> name below it).

        Args:
            spellings: image id -> variants of its name, the longest first.
            choices: gets a line if other folders have images of the same names.

        Raises:
            UserError: for images that are missing, listed twice, or in several folders of which
            none is nearer to the file or its split.
        """
        tree = self.tree
        best = self._best(list(spellings.values())[:: max(1, len(spellings) // SAMPLE)])
        found, missing = {}, []
        for key, names in spellings.items():
            image = next((j for s in names if (j := join(best, s)) in tree.image_set), None)
            if image is None:
                same = tree.named(names[-1])
                image = same[0] if len(same) == 1 else None
            if image is None:
                missing.append(names[0])
            else:
                found[key] = image
        if missing:
            raise UserError(
                f'{len(missing)} of {len(spellings)} images that {self.path} lists are not below '
                f'{tree.root} ({preview(missing)}){tree.like(missing[0])}; put them there, correct '
                'their names, or remove their records'
            )
        twice = [name for name, n in Counter(found.values()).items() if n > 1]
        if twice:
            raise UserError(
                f'{self.path} lists {counted(len(twice), "file")} as several images '
                f'({preview(twice)}); list each file once'
            )
        self._tell_doubles(spellings, found, choices)
        prefix = f'{best}/' if best else ''
        if any(not name.startswith(prefix) for name in found.values()):
            best, prefix = '', ''
        return tree.path(best), {key: name[len(prefix) :] for key, name in found.items()}

    def _best(self, sample: list[list[str]]) -> str:
        """The folder with the most of the names, and with the most of each; of several the one of
        the lowest rank."""
        images = self.tree.image_set

        def hits(folder: str) -> tuple[int, int]:
            found, short = 0, 0
            for names in sample:
                image = next((j for s in names if (j := join(folder, s)) in images), None)
                if image is not None:
                    found += 1
                    short += names.index(_common(image, names))
            return found, -short

        best, most = '', (-1, 0)
        for folder in sorted(self.tree.folders(), key=self.rank):
            n = hits(folder)
            if n > most:
                best, most = folder, n
            if n == (len(sample), 0):
                break
        return best

    def _tell_doubles(self, spellings: dict, found: dict, choices: list[str]) -> None:
        """Report other folders that have images of the same names."""
        same: dict[int, dict[str, list[str]]] = {}  # depth -> last parts of a path -> images
        others: dict[tuple[str, str], list[str]] = defaultdict(list)
        for key, image in found.items():
            name = _common(image, spellings[key])
            depth = name.count('/') + 1
            if depth not in same:
                same[depth] = defaultdict(list)
                for other in self.tree.images:
                    same[depth]['/'.join(other.split('/')[-depth:])].append(other)
            for other in same[depth][name]:
                if other != image:
                    here, there = (i[: len(i) - len(name)].rstrip('/') for i in (image, other))
                    others[here, there].append(name)
        told: dict[str, None] = {}
        names: list[str] = []
        for (here, there), twins in others.items():
            if self.rank(there) == OTHER_SPLIT and self.rank(here) < OTHER_SPLIT:
                continue
            if self.rank(here) >= self.rank(there) and len(twins) == len(found):
                raise UserError(
                    f'the images that {self.path} lists are in {self.tree.path(here)} and, under '
                    f'the same names, in {self.tree.path(there)} ({preview(twins)}): labels would '
                    'be drawn on the wrong ones; write the folder into each file_name, put the '
                    'file into the folder that is meant, or remove the other folder'
                )
            told |= {f'{self.tree.path(here)}, not from {self.tree.path(there)}': None}
            names += twins
        if told:
            choices.append(
                f'{self.path.name}: images of the same names are in several folders, they are '
                f'taken from {preview(list(told))}: {len(names)} ({preview(names)})'
            )


def _common(image: str, spellings: list[str]) -> str:
    """The longest of the spellings that the path of the image ends with."""
    return next(s for s in spellings if f'/{image}'.endswith(f'/{s}'))
