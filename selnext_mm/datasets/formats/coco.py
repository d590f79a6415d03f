"""COCO instances files in the layouts of COCO, Roboflow, CVAT, Label Studio and LVIS."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from selnext_mm.datasets.check.masks import finite
from selnext_mm.datasets.coco_content import flag, is_id, number, numbers, plain_segmentation
from selnext_mm.datasets.coco_file import read_coco
from selnext_mm.datasets.formats.coco_files import LVIS_IMAGE, split_of_file
from selnext_mm.datasets.formats.files import Tree, join, tails
from selnext_mm.datasets.formats.records import LabelledObject, Labels, SplitLabels, Tally, preview
from selnext_mm.errors import UserError
from selnext_mm.text import counted, short

SAMPLE = 50  # number of names with which the folder of the images is found
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
        image_root, found = self._locate(records, path, split)
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
            name = _file_name(record) if isinstance(record, dict) else None
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

    def _locate(self, records: dict, path: Path, split: str) -> tuple[Path, dict]:
        """(image root, image id -> name below it)."""
        tree, own = self.tree, self.by_split[split].rpartition('/')[0]

        def rank(folder: str) -> int:
            """Folders near the file first, then those named after the split, other splits last."""
            if folder == own or (own and folder.startswith(f'{own}/')):
                return 0
            word = split_of_file(folder) if folder else ''
            return 1 if word == split and word else 2 if not word else 3

        folders = sorted(tree.folders(), key=rank)
        spellings = {key: list(tails(_file_name(r))) for key, r in records.items()}
        sample = list(spellings.values())[:: max(1, len(spellings) // SAMPLE)]

        def hits(folder: str) -> int:
            return sum(any(join(folder, s) in tree.image_set for s in names) for names in sample)

        best, most = '', -1
        for folder in folders:
            n = hits(folder)
            if n > most:
                best, most = folder, n
            if n == len(sample):
                break
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
                f'{len(missing)} of {len(records)} images that {path} lists are not below '
                f'{tree.root} ({preview(missing)}){tree.like(missing[0])}; put them there, correct '
                'their names, or remove their records'
            )
        twice = [name for name, n in Counter(found.values()).items() if n > 1]
        if twice:
            raise UserError(
                f'{path} lists {counted(len(twice), "file")} as several images '
                f'({preview(twice)}); list each '
                'file once'
            )
        prefix = f'{best}/' if best else ''
        if any(not name.startswith(prefix) for name in found.values()):
            best, prefix = '', ''
        return tree.path(best), {key: name[len(prefix) :] for key, name in found.items()}

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


def _file_name(record: dict) -> str | None:
    """The name of an image; in LVIS it is only part of a URL."""
    name = record.get('file_name') or record.get('coco_url')
    return name if isinstance(name, str) else None
