"""Which files of a folder are COCO files, of which split, and what the other JSON files are."""

import json
import re
from pathlib import Path

from selnext_mm.datasets.coco_file import OTHERS
from selnext_mm.datasets.formats.files import Tree, split_of

HEAD = 1 << 16  # bytes of a file that are read
# A list, or what may be in its place; not a path, as in the results of a run. Categories alone are
# no labels: Label Studio's YOLO export has them in notes.json.
KEYS = re.compile(r'"(?:images|annotations)"\s*:\s*[\[{n]')
# What may come before these keys and be long: classes, licences, a description, a preview image.
BEFORE = ('"categories"', '"info"', '"licenses"', '"licences"')
DEPTH = 3  # levels below the root in which annotation files are searched
LVIS_IMAGE = ('neg_category_ids', 'not_exhaustive_category_ids')  # read by its metric
EXPORT = 'export the labels as COCO, YOLO or Pascal VOC'


def _head(path: Path) -> str:
    """The first characters of a JSON file, in any of JSON's encodings; '' if unreadable."""
    try:
        with open(path, 'rb') as file:
            head = file.read(HEAD)
    except OSError:
        return ''
    return head.decode(json.detect_encoding(head), 'replace').lstrip('\ufeff \t\r\n')


def _has_keys(path: Path, head: str) -> bool:
    if KEYS.search(head):
        return True
    if not any(key in head for key in BEFORE):
        return False
    keys = re.compile(KEYS.pattern.encode())
    with open(path, 'rb') as file:
        last = b''
        while piece := file.read(1 << 20):
            if keys.search(last + piece):
                return True
            last = piece[-64:]
    return False


def looks_like_coco(path: Path) -> bool:
    """Whether the file begins like a COCO file; other JSON and results files do not."""
    head = _head(path)
    return head.startswith('{') and _has_keys(path, head)


def is_lvis(path: Path) -> bool:
    return 'lvis' in path.name.lower() or any(key in _head(path) for key in LVIS_IMAGE)


def annotation_files(tree: Tree) -> list[str]:
    """Names of the files that look like COCO files, at most three levels down."""
    names = [n for n in tree.labels['.json'] if n.count('/') <= DEPTH]
    return [n for n in names if looks_like_coco(tree.path(n))]


def split_of_file(name: str) -> str:
    """The split that a file is named after, or else the nearest folder with such a name."""
    parts = name.split('/')
    return next(filter(None, map(split_of, reversed(parts))), '')


def json_kind(path: Path) -> str:
    """What a JSON file is if it is not a COCO file; '' if unknown."""
    head = _head(path)
    if '"shapes"' in head and '"imagePath"' in head:
        return f'{path.name} is of LabelMe; convert it with labelme2coco'
    if head.startswith('['):
        return f'{path.name} holds a list (results, or tasks of Label Studio); {EXPORT}'
    if head.startswith("{'"):
        return f'{path.name} is the printed form of a Python dict; write it with json.dump'
    with open(path, 'rb') as file:
        data = file.read(64).lstrip()
    return next((f'{path.name} is {w}' for m, w in OTHERS.items() if data.startswith(m)), '')


def unread_splits(tree: Tree, found: list[str] | tuple[str, ...]) -> list[str]:
    """Why JSON files that are named after a split are not its labels, one line per file.

    Args:
        tree: the folder.
        found: the splits that have labels.
    """
    lines = []
    for name in tree.labels['.json']:
        split = split_of_file(name)
        if name.count('/') > DEPTH or not split or split in found:
            continue
        path = tree.path(name)
        if not looks_like_coco(path):
            kind = json_kind(path) or (
                f'{path.name} does not begin like a COCO file, with a dict of images, annotations '
                'and categories'
            )
            lines.append(f'{name} is not used for {split}: {kind}')
    return lines
