"""Which files of a folder are COCO's, of which split, and what the other JSON files are."""

import json
import re
from pathlib import Path

from selnext_mm.datasets.coco_file import OTHERS
from selnext_mm.datasets.formats.files import Tree, split_of

HEAD = 1 << 16  # bytes of a file that are looked at
# A list, or what is found where one belongs; a path, as in the results of a run, is none.
KEYS = re.compile(r'"(?:images|annotations|categories)"\s*:\s*[\[{n]')
# What stands before these keys and may be long: licences, a description, a picture of the set.
BEFORE = ('"info"', '"licenses"', '"licences"')
DEPTH = 3  # folders below the root in which annotation files are looked for
LVIS_IMAGE = ('neg_category_ids', 'not_exhaustive_category_ids')  # its metric reads them
EXPORT = 'export the labels as COCO, YOLO or Pascal VOC'


def _head(path: Path) -> str:
    """The first characters of a JSON file, in whichever of JSON's encodings; '' if unreadable."""
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
    """Does the file begin like a COCO file? Other JSON and results files do not."""
    head = _head(path)
    return head.startswith('{') and _has_keys(path, head)


def is_lvis(path: Path) -> bool:
    return 'lvis' in path.name.lower() or any(key in _head(path) for key in LVIS_IMAGE)


def annotation_files(tree: Tree) -> list[str]:
    """Names of the files that look like COCO's, at most three folders down."""
    names = [n for n in tree.labels['.json'] if n.count('/') <= DEPTH]
    return [n for n in names if looks_like_coco(tree.path(n))]


def split_of_file(name: str) -> str:
    """The split that a file's name, or the nearest folder that has such a word, stands for."""
    parts = name.split('/')
    return next(filter(None, map(split_of, reversed(parts))), '')


def json_kind(path: Path) -> str:
    """What a JSON file that is not COCO's is instead; '' where nothing is known of it."""
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
    """Why JSON files that are named after a split are not its labels, a line for each file.

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
