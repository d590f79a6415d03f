"""COCO instances files in the layouts of COCO, Roboflow, CVAT, Label Studio and LVIS."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from selnext_mm.datasets.check.masks import finite
from selnext_mm.datasets.coco_content import flag, is_id, number, numbers, plain_segmentation
from selnext_mm.datasets.coco_file import read_coco
from selnext_mm.datasets.formats.coco_files import LVIS_IMAGE, split_of_file
from selnext_mm.datasets.formats.coco_images import ImagePlaces
from selnext_mm.datasets.formats.files import Tree, tails
from selnext_mm.datasets.formats.records import LabelledObject, Labels, SplitLabels, Tally, preview
from selnext_mm.errors import UserError
from selnext_mm.text import counted, short

MOSTLY = 0.5  # share of iscrowd from which on it is attributed to the tool and ignored
LVIS_CATEGORY = ('synset', 'synonyms', 'def', 'frequency', 'image_count', 'instance_count')


class CocoLabels(Labels):
    """COCO files, one per split, in a tree of images.

    Args:
        tree: the folder.
        files: names of the annotation files in it.
    """

    format = 'coco'

    def __init__(self, tree: Tree, files: Iterable[str]) -> None:
        super().__init__()
        self.tree = tree
        self.by_split = self._choose(files)
        self.splits = tuple(self.by_split)
        self.names: list[str] = []  # in order, of all splits read
        self.listed: dict[str, list[str]] = {}  # split -> names
        self.fields: dict[str, dict] = {}
        self.used: dict[str, set[str]] = {}  # folder of images -> paths of the listed ones
        self.parents: set[str] = set()  # names that are the supercategory of another category

    def _choose(self, files: Iterable[str]) -> dict[str, str]:
        groups = defaultdict(list)
        for name in files:
            groups[split_of_file(name)].append(name)
        if len(groups) > 1 and '' in groups:
            rest = groups.pop('')
            self.choices.append(f'not used, as no split is in the name: {preview(rest)}')
        chosen = {}
        for split, names in groups.items():
            wanted = [n for n in names if 'instances' in n.rpartition('/')[2]] or names
            if len(wanted) > 1:
                what = f'the {split} images' if split else 'the images (no split is in their names)'
                raise UserError(
                    f'{self.tree.root} has {len(wanted)} annotation files of {what}: '
                    f'{preview(wanted)}; give one of the files itself, or remove the others'
                )
            chosen[split] = wanted[0]
            if len(names) > 1:
                others = [n for n in names if n != wanted[0]]
                self.choices.append(f'{wanted[0]} is used, not {preview(others)}')
        return chosen

    def files(self) -> list[Path]:
        return [self.tree.path(name) for name in self.by_split.values()]

    def image_files(self) -> list[str]:
        return [os.path.join(self.tree.root, name) for name in self.tree.images]

    def class_names(self) -> list[str]:
        return self.names

    def class_fields(self, name: str) -> dict:
        return self.fields.get(name, {})

    def read(self, split: str, tally: Tally) -> SplitLabels:
        path = self.tree.path(self.by_split[split])
        content = read_coco(path)
        names = self._categories(content['categories'], path)
        self.listed[split] = list(names.values())
        records = self._images(content['images'], path)
        spellings = {key: list(tails(file_name(record))) for key, record in records.items()}
        image_root, found = ImagePlaces(self.tree, self.by_split[split]).locate(
            spellings, self.choices
        )
        self._tell_unlisted(image_root, found.values())
        objects = self._objects(content['annotations'], names, records, path, tally)
        by_name = {found[key]: record for key, record in records.items()}
        objects = {found[key]: items for key, items in objects.items()}

        def size(name: str) -> tuple[int, int] | None:
            record = by_name[name]
            width, height = record.get('width'), record.get('height')
            size = [number(width), number(height)]
            known = finite(size) and min(size) >= 1
            return (int(size[0]), int(size[1])) if known else None

        def extras(name: str) -> dict:
            record = by_name[name]
            return {
                key: [names[i] for i in record[key] if i in names]
                for key in LVIS_IMAGE
                if isinstance(record.get(key), list)
            }

        if any(key in record for record in content['images'][:1] for key in LVIS_IMAGE):
            self.format = 'lvis'
        return SplitLabels(
            image_root,
            sorted(by_name),
            lambda name, width, height: objects.get(name, []),
            size,
            extras,
        )

    def _tell_unlisted(self, image_root: Path, names: Iterable[str]) -> None:
        """Report the images beside the listed ones, when the last file has been read."""
        folder = os.path.relpath(image_root, self.tree.root).replace(os.sep, '/')
        prefix = '' if folder == '.' else f'{folder}/'
        self.used.setdefault(prefix, set()).update(prefix + name for name in names)
        if len(self.listed) < len(self.splits):
            return
        used = set().union(*self.used.values())
        left = [i for i in self.tree.images if i not in used and i.startswith(tuple(self.used))]
        if left:
            self.choices.append(
                f'images that no annotation file lists, left out: {len(left)} ({preview(left)})'
            )

    def _categories(self, categories: list, path: Path) -> dict:
        pairs = []
        for c in categories:
            key = c.get('id') if isinstance(c, dict) else None
            name = c.get('name') if isinstance(c, dict) else None
            if not is_id(key) or not isinstance(name, str) or not name.strip():
                raise UserError(
                    f'{path}: the category {short(c, 80)} has no id or no name; give it both, the '
                    'id as a number or a text, the name as a text'
                )
            pairs.append((key, name.strip(), c))
        for what, values in (('id', [p[0] for p in pairs]), ('name', [p[1] for p in pairs])):
            twice = [v for v, n in Counter(values).items() if n > 1]
            if twice:
                raise UserError(
                    f'{path} uses the category {what} {preview(twice)} more than once; give every '
                    'category an id and a name of its own'
                )
        if not any(isinstance(p[0], str) for p in pairs):
            pairs.sort(key=lambda p: p[0])
        ids = [p[0] for p in pairs]
        if ids != list(range(1, len(ids) + 1)):
            self.choices.append(
                f'category ids {preview(ids)} of {path.name} become 1, 2, ... in that order'
            )
        listed = {p[1] for p in pairs}
        for _, name, c in pairs:
            parent = c.get('supercategory')
            if isinstance(parent, str) and parent in listed and parent != name:
                self.parents.add(parent)
            if name not in self.fields:
                self.names.append(name)
                kept = {k: c[k] for k in ('supercategory', *LVIS_CATEGORY) if k in c}
                self.fields[name] = kept if 'frequency' in c else {}
        return {key: name for key, name, _ in pairs}

    def _images(self, images: list, path: Path) -> dict:
        """Image id -> record."""
        records, twice = {}, []
        for record in images:
            key = record.get('id') if isinstance(record, dict) else None
            name = file_name(record) if isinstance(record, dict) else None
            if not is_id(key) or not name:
                raise UserError(
                    f'{path}: the image record {short(record, 80)} has no id or no file_name; '
                    'complete or remove it'
                )
            if key in records:
                twice.append(key)
            records[key] = record
        if twice:
            raise UserError(
                f'{path} uses {len(twice)} image ids twice ({preview(twice)}): boxes of one image '
                'would be drawn on the other; give every image an id of its own'
            )
        return records

    def _objects(self, annotations, names, records, path, tally) -> dict:
        """Image id -> its objects in the order of the file."""
        objects, ids, twice, unknown = defaultdict(list), set(), [], Counter()
        crowds = sum(bool(flag(a.get('iscrowd'))) for a in annotations if isinstance(a, dict))
        habit = crowds > MOSTLY * len(annotations)
        for a in annotations:
            if not isinstance(a, dict):
                raise UserError(f'{path}: the annotation {short(a, 80)} is no record; remove it')
            key, image, category = map(a.get, ('id', 'image_id', 'category_id'))
            if is_id(key):
                if key in ids:
                    twice.append(key)
                ids.add(key)
            if not is_id(image) or image not in records:
                unknown['image_id', _quoted(image)] += 1
                continue
            if not is_id(category) or category not in names:
                unknown['category_id', _quoted(category)] += 1
                continue
            for mark in ('ignore', 'iscrowd'):
                if flag(a.get(mark)) not in (0, 1):
                    raise UserError(
                        f'{path}: {mark} of annotation {short(key, 40)} is '
                        f'{short(repr(a[mark]), 40)}; write 0 or 1'
                    )
            if flag(a.get('ignore')):
                tally.add('ignored', f'annotation {key} of {path.name}')
                continue
            box = numbers(a.get('bbox'))
            if box not in (None, []) and not (
                isinstance(box, list) and len(box) == 4 and finite(box)
            ):
                raise UserError(
                    f'{path}: the bbox of annotation {short(key, 40)} is {short(box, 80)}; correct '
                    'it to x, y, width, height, or remove the annotation'
                )
            objects[image].append(
                LabelledObject(
                    names[category],
                    box,
                    plain_segmentation(a.get('segmentation')) or None,
                    bool(flag(a.get('iscrowd'))) and not habit,
                    number(a.get('area')),
                )
            )
        if twice:
            raise UserError(
                f'{path} uses {counted(len(twice), "annotation id")} twice '
                f'({preview(twice)}); number the '
                'annotations anew (were two files put together?)'
            )
        for (what, value), n in unknown.items():
            raise UserError(
                f'{path}: {counted(n, "annotation has", "annotations have")} the {what} {value}, '
                f'which the file does not list ({counted(len(unknown), "such id")}); add '
                'its record or remove them'
            )
        if habit:
            tally.add('crowd habit', f'{path.name}: {crowds} of {len(annotations)}')
        return objects


def _quoted(key) -> str:
    """An id as written in the file, so that "2" and 2 differ."""
    return f'"{short(key, 40)}"' if isinstance(key, str) else short(key, 40)


def file_name(record: dict) -> str | None:
    """The name of an image; in LVIS it is only part of a URL."""
    name = record.get('file_name') or record.get('coco_url')
    return name if isinstance(name, str) else None
