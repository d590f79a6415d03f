"""Pascal VOC: one XML file per image, boxes given by the pixels of their corners.

In Pascal VOC pixels count from 1 and the last one belongs to the box: ``xmin=1, xmax=W`` is the
whole width. As a box (left, top, width, height) that is
``xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1``. Some tools write the same XML with
coordinates from 0, for which it is ``xmin, ymin, xmax - xmin, ymax - ymin``. The smallest
coordinates show which of the two a data set uses, see :meth:`VocLabels.prepare`.
"""

import os
import re
from array import array
from collections.abc import Callable
from pathlib import Path

from selnext_mm.datasets.coco_content import flag, number
from selnext_mm.datasets.formats.coco_files import split_of_file
from selnext_mm.datasets.formats.files import (
    IMAGE_FOLDERS,
    SUFFIXES,
    Tree,
    join,
    mmdet_reads,
    read_text,
    read_xml,
    tails,
)
from selnext_mm.datasets.formats.geometry import is_finite
from selnext_mm.datasets.formats.records import LabelledObject, Labels, SplitLabels, Tally, preview
from selnext_mm.errors import UserError
from selnext_mm.text import counted

HEAD = 4096  # bytes of a file that are read
ROOT = re.compile(rb'<([\w.-]+:)?annotation[\s/>]')
LISTS = ('train', 'val', 'test', 'trainval')
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


def looks_like_voc(path: Path) -> bool:
    try:
        with open(path, 'rb') as file:
            return ROOT.search(file.read(HEAD)) is not None
    except OSError:
        return False


def _listed(line: str, base: str, xml: set[str]) -> str:
    """The name in a line of a list: all of it, or without a last word (1 or -1), or also without
    folders and image suffix."""
    word = line.split()[0]
    spellings = list(dict.fromkeys((line, line.rsplit(maxsplit=1)[0], word)))
    names = list(spellings)
    for name in spellings:
        last = name.replace('\\', '/').rpartition('/')[2]
        names.append(os.path.splitext(last)[0] if mmdet_reads(last) else last)
    return next((n for n in names if join(base, f'Annotations/{n}.xml') in xml), word)


class VocLabels(Labels):
    """Pascal VOC's XML files, with lists under ``ImageSets/Main``, or in folders by split.

    Args:
        tree: the folder.
    """

    format = 'voc'

    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self.tree = tree
        xml = tree.labels['.xml']
        lists = [
            n
            for n in tree.labels['.txt']
            if f'/{n}'.rpartition('/')[0].endswith('/ImageSets/Main')
            and n.rpartition('/')[2][:-4] in LISTS
        ]
        self.pairs: dict[str, dict[str, str]] = {}  # split -> image -> XML file
        self.lists = lists
        if lists:
            self._from_lists(lists, set(xml))
        else:
            self._from_folders(xml)
        if not self.pairs:
            self.faults.stop()
            raise UserError(f'{tree.root}: no XML file belongs to an image')
        self.splits = tuple(self.pairs)
        self._tell_left_out(xml)

    def _tell_left_out(self, xml: list[str]) -> None:
        """Report XML files that are not used, and images without one."""
        pairs = [pair for found in self.pairs.values() for pair in found.items()]
        used = {file for _, file in pairs}
        unlisted = [n for n in xml if n not in used and looks_like_voc(self.tree.path(n))]
        if unlisted:
            why = 'that no list in ImageSets/Main names' if self.lists else 'of images with another'
            self.choices.append(f'XML files {why}, left out: {len(unlisted)} ({preview(unlisted)})')
        # By their names alone: maps of classes are named like the images that they belong to.
        known = {os.path.splitext(n)[0].rpartition('/')[2] for n in xml}
        known |= {os.path.splitext(image)[0].rpartition('/')[2] for image, _ in pairs}
        bare = [
            n for n in self.tree.images if os.path.splitext(n)[0].rpartition('/')[2] not in known
        ]
        if bare:
            self.choices.append(
                f'images without an XML file, left out: {len(bare)} ({preview(bare)})'
            )

    def _from_lists(self, lists: list[str], xml: set[str]) -> None:
        kinds = {n.rpartition('/')[2][:-4] for n in lists}
        if 'train' in kinds and 'trainval' in kinds:
            lists = [n for n in lists if not n.endswith('/trainval.txt')]
            kinds.discard('trainval')
        for name in lists:
            base = name[: -len(name.rpartition('/')[2]) - len('ImageSets/Main/')].rstrip('/')
            split = name.rpartition('/')[2][:-4].replace('trainval', 'train')
            lines = filter(None, map(str.strip, read_text(self.tree.path(name)).splitlines()))
            stems = [_listed(line, base, xml) for line in lines]
            if not stems:
                raise UserError(
                    f'{self.tree.path(name)} lists no images; fill or remove it (a missing val '
                    'split is made)'
                )
            without = [s for s in stems if join(base, f'Annotations/{s}.xml') not in xml]
            if without:
                self.faults.add(
                    f'{len(without)} of {len(stems)} images of {self.tree.path(name)} have no '
                    f'Annotations/NAME.xml ({preview(without)}); correct the list'
                )
            pairs = self.pairs.setdefault(split, {})
            missing, unlabelled = [], set(without)
            for stem in stems:
                if stem in unlabelled:
                    continue
                file = join(base, f'Annotations/{stem}.xml')
                image = self._image(file)
                if image is None:
                    missing.append(stem)
                else:
                    pairs[image] = file
            self._report_missing(missing, len(stems), self.tree.path(name))

    def _from_folders(self, xml: list[str]) -> None:
        files = [n for n in xml if looks_like_voc(self.tree.path(n))]
        missing = []
        for file in files:
            image = self._image(file)
            if image is None:
                missing.append(file)
            else:
                self.pairs.setdefault(split_of_file(file.rpartition('/')[0]), {})[image] = file
        self._report_missing(missing, len(files), self.tree.root)

    def _report_missing(self, missing: list[str], total: int, where: Path) -> None:
        if missing:
            self.faults.add(
                f'{len(missing)} of {total} labelled images of {where} are missing '
                f'({preview(missing)}); put them beside the XML files or into JPEGImages/, or '
                'remove their labels'
            )

    def _image(self, file: str) -> str | None:
        """The image of an XML file: of the same name, beside it or in an image folder; else the
        ``filename`` in it."""
        stem = file[:-4]
        folder, _, name = stem.rpartition('/')
        stems = [stem]
        parts = folder.split('/') if folder else []
        for i, part in reversed([*enumerate(parts)]):
            if part.lower() in ('annotations', 'annotation', 'labels', 'xmls', 'xml'):
                for images in (*IMAGE_FOLDERS, ''):
                    changed = [*parts[:i], *([images] if images else []), *parts[i + 1 :]]
                    stems.append('/'.join([*changed, name]))
        for stem in stems:
            for suffix in SUFFIXES:
                for image in (stem + suffix, stem + suffix.upper()):
                    if image in self.tree.image_set:
                        return image
        written = read_xml(self.tree.path(file)).findtext('filename') or ''
        for spelling in tails(written) if written.strip() else ():
            if join(folder, spelling) in self.tree.image_set:
                return join(folder, spelling)
        same = self.tree.named(written.replace('\\', '/').rpartition('/')[2].strip())
        return same[0] if len(same) == 1 else None

    def files(self) -> list[Path]:
        names = [*self.lists, *(f for pairs in self.pairs.values() for f in pairs.values())]
        return [self.tree.path(n) for n in dict.fromkeys(names)]

    def image_files(self) -> list[str]:
        return [str(self.tree.path(i)) for pairs in self.pairs.values() for i in pairs]

    def prepare(self, tally: Tally, advance: Callable[[int], None]) -> None:
        """Read all XML files into flat arrays, 40 bytes per box, and find where counting starts.

        Boxes that touch the left or top border begin at 1, or below 1 if counting starts at 0.
        Counting starts at 0 if at least a fifth of the boxes that begin at 1 or 0 begin at 0. If
        there are no such boxes, it does so if most boxes have fractions of pixels.
        """
        self.boxes, self.kinds, self.names = array('d'), array('l'), {}
        self.spans: dict[str, tuple[int, int, int, int]] = {}  # file -> first, last, width, height
        below = at = fractions = 0
        for file in dict.fromkeys(f for pairs in self.pairs.values() for f in pairs.values()):
            first = len(self.kinds)
            width = height = 0
            with self.faults.collect():
                width, height = self._parse(file, tally)
            self.spans[file] = (first, len(self.kinds), width, height)
            advance(1)
        for i in range(0, len(self.boxes), 4):
            box = self.boxes[i : i + 4]
            # A box that begins below 0 is outside in both conventions, so it does not help.
            below += any(0 <= v < 1 for v in box[:2])
            at += min(box[:2]) == 1
            fractions += any(v % 1 for v in box)
        count = len(self.kinds)
        self.origin = int(not (4 * below > at or (below == at == 0 and fractions > count / 2)))
        rule = (
            'pixels count from 1, the last included: left = xmin - 1, width = xmax - xmin + 1'
            if self.origin
            else f'coordinates count from 0 ({counted(below, "box begins", "boxes begin")} '
            f'at 0, {fractions} of {count} '
            'have fractions): left = xmin, width = xmax - xmin'
        )
        self.choices.append(f'Pascal VOC boxes: {rule}')

    def _parse(self, file: str, tally: Tally) -> tuple[int, int]:
        path = self.tree.path(file)
        root = read_xml(path)
        for item in root.iter('object'):
            name = (item.findtext('name') or '').strip()
            if not name:
                raise UserError(f'{path}: an object has no <name>; add it')
            box = item.find('bndbox')
            texts = [box.findtext(c) if box is not None else None for c in CORNERS]
            try:
                x0, y0, x1, y1 = map(float, texts)
            except (TypeError, ValueError) as error:
                raise UserError(
                    f'{path}: the object {name!r} has no <bndbox> of four numbers '
                    f'({", ".join(CORNERS)}), but {texts}; correct it or remove the object'
                ) from error
            if not is_finite((x0, y0, x1, y1)):
                raise UserError(f'{path}: the box of {name!r} is {texts}; correct it')
            if x0 > x1 or y0 > y1:
                tally.add('swapped corners', file)
            difficult = flag(number(item.findtext('difficult') or ''))
            if difficult not in (0, 1):
                tally.add('odd mark', file)
            place = self.names.setdefault(name, len(self.names))
            self.kinds.append(~place if difficult == 1 else place)
            self.boxes.extend((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
        try:
            size = root.find('size')
            return int(float(size.findtext('width'))), int(float(size.findtext('height')))
        except (AttributeError, TypeError, ValueError, OverflowError):
            return 0, 0

    def read(self, split: str, tally: Tally) -> SplitLabels:
        pairs = self.pairs[split]
        folders = [i.rpartition('/')[0].split('/') for i in pairs]
        shared = []
        for parts in zip(*folders, strict=False):
            if len(set(parts)) > 1:
                break
            shared.append(parts[0])
        root = '/'.join(shared)
        prefix = f'{root}/' if root else ''
        names = list(self.names)
        by_name = {image[len(prefix) :]: file for image, file in pairs.items()}

        def objects(name: str, width: int, height: int) -> list[LabelledObject]:
            first, last, _, _ = self.spans[by_name[name]]
            found = []
            for i in range(first, last):
                x0, y0, x1, y1 = self.boxes[4 * i : 4 * i + 4]
                kind, o = self.kinds[i], self.origin
                bbox = [x0 - o, y0 - o, x1 - x0 + o, y1 - y0 + o]
                found.append(LabelledObject(names[max(kind, ~kind)], bbox, crowd=kind < 0))
            return found

        def size(name: str) -> tuple[int, int] | None:
            _, _, width, height = self.spans[by_name[name]]
            return (width, height) if width > 0 and height > 0 else None

        return SplitLabels(self.tree.path(root), sorted(by_name), objects, size)
