"""Detection of the label format of a folder."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from selnext_mm.datasets.formats import coco, folders, voc, yolo
from selnext_mm.datasets.formats.coco_files import (
    EXPORT,
    annotation_files,
    is_lvis,
    json_kind,
    unread_splits,
)
from selnext_mm.datasets.formats.files import Tree
from selnext_mm.datasets.formats.records import Labels, preview
from selnext_mm.errors import UserError
from selnext_mm.text import counted

FORMATS = ('coco', 'lvis', 'yolo', 'voc', 'folders')
ARCHIVES = ('.zip', '.tar', '.tgz', '.gz', '.bz2', '.xz', '.7z', '.rar')
UP = 2  # levels above an annotation file in which its images are searched
BY_LOOKING = 'leave out --format, and the format is found by looking'


def open_labels(path: str | os.PathLike, format: str | None = None) -> Labels:
    """The labels in a folder, or those that a .json or .yaml file describes.

    Raises:
        UserError: if labels are not found, of several formats, or unreadable.
    """
    if format is not None and format not in FORMATS:
        raise UserError(f'--format {format}: no such format; choose from {", ".join(FORMATS)}')
    path = Path(path).expanduser()
    if not path.exists():
        raise UserError(f'{path}: no such file or folder; name the folder of the data set')
    if path.is_file():
        return _of_file(path, format)
    tree = Tree(path)
    problems: list[str] = []
    found = _candidates(tree, format, problems)
    if len(found) > 1:
        places = '; '.join(f'{name} ({evidence})' for name, (evidence, _) in found.items())
        raise UserError(
            f'{path} has labels of several formats: {places}; choose one with --format '
            f'{next(iter(found))}, or give the folder or file of one'
        )
    if not found:
        raise UserError(_nothing(tree, format, problems))
    labels = next(iter(found.values()))[1]()
    labels.root = tree.root
    labels.choices += [*_unread(tree), *_predicted(tree)]
    if isinstance(labels, coco.CocoLabels):
        labels.choices += unread_splits(tree, labels.splits)
    return labels


def _of_file(path: Path, format: str | None) -> Labels:
    suffix = path.suffix.lower()
    if suffix in ARCHIVES:
        raise UserError(f'{path} is an archive; unpack it and give the folder')
    if suffix == '.json' and format in (None, 'coco', 'lvis'):
        root = path.parent
        for _ in range(UP):
            tree = Tree(root)
            if tree.images:
                break
            root = Path(os.path.normpath(root / '..')) if root != Path('.') else Path('..')
        tree = Tree(root)
        name = os.path.relpath(path, root).replace(os.sep, '/')
        labels: Labels = coco.CocoLabels(tree, [name])
    elif suffix in ('.yaml', '.yml') and format in (None, 'yolo'):
        tree = Tree(path.parent)
        labels = yolo.YoloLabels(tree, path.name)
    else:
        kind = f' as {format}' if format else ''
        raise UserError(
            f'{path} cannot be read{kind}: expected a folder, a COCO .json or a YOLO data.yaml'
            + (f'; {BY_LOOKING}' if format else '')
        )
    labels.root = tree.root
    return labels


def _candidates(
    tree: Tree, format: str | None, problems: list[str]
) -> dict[str, tuple[str, Callable[[], Labels]]]:
    """Format -> (the file that indicates it, how to open it)."""
    found: dict[str, tuple[str, Callable[[], Labels]]] = {}
    wanted = FORMATS if format is None else (format,)
    if {'coco', 'lvis'} & set(wanted):
        files = annotation_files(tree)
        lvis = [n for n in files if is_lvis(tree.path(n))]
        plain = [n for n in files if n not in lvis]
        for name, names in (('coco', plain), ('lvis', lvis)):
            names = names or (files if format == name else [])
            if names and name in wanted:
                found[name] = (names[0], partial(coco.CocoLabels, tree, names))
    if 'yolo' in wanted:
        evidence = _yolo(tree, problems)
        if evidence:
            yaml = evidence if evidence.endswith(('.yaml', '.yml')) else None
            found['yolo'] = (evidence, lambda: yolo.YoloLabels(tree, yaml))
    if 'voc' in wanted:
        first = next((n for n in tree.labels['.xml'] if voc.looks_like_voc(tree.path(n))), None)
        if first:
            found['voc'] = (first, lambda: voc.VocLabels(tree))
    if 'folders' in wanted and not found:
        layout = folders.layout(tree)
        if layout or format == 'folders':
            found['folders'] = ('class folders', lambda: folders.FolderLabels(tree))
    return found


def _yolo(tree: Tree, problems: list[str]) -> str | None:
    """The YAML file, or the file of class names, of a YOLO data set."""
    files = yolo.yaml_files(tree, problems)
    if len(files) > 1:
        raise UserError(
            f'{tree.root} has several YAML files of data sets: {preview(files)}; give one of them '
            'in place of the folder'
        )
    if files:
        return files[0]
    texts = set(tree.labels['.txt'])
    labelled = any(t in texts for image in tree.images for t in yolo.label_path(image))
    if not labelled:
        return None
    names = yolo.name_files(tree)
    if not names:
        problems.append(
            'text files of labels stand with the images, but neither data.yaml nor classes.txt '
            'says the names of the classes'
        )
    return names[0] if names else None


def _unread(tree: Tree) -> list[str]:
    """A line on images of unsupported formats, [] if there are none."""
    if not tree.unread:
        return []
    return [
        f'images of formats that are not read, to be converted to .jpg or .png: '
        f'{len(tree.unread)} ({preview(tree.unread)})'
    ]


def _predicted(tree: Tree) -> list[str]:
    """A line on folders of predictions, [] if there are none."""
    if not tree.predicted:
        return []
    return [f'what predict has written, left out: {preview(sorted(tree.predicted))}']


def _nothing(tree: Tree, format: str | None, problems: list[str]) -> str:
    """Why there are no labels, as far as known."""
    text = f'no labels found in {tree.root}' + (f' as {format}' if format else '')
    problems = [*problems, *_unread(tree), *_predicted(tree)]
    if alone := folders.single_class(tree):
        problems.append(
            f'the images are in the one folder {alone}/, and class folders are two or more, one '
            'for each class'
        )
    seen = [counted(len(tree.images), 'image')]
    seen += [
        f'{counted(len(names), f"{suffix} file")} (e.g. {names[0]})'
        for suffix, names in tree.labels.items()
        if names
    ]
    reasons = problems + [
        reason for n in tree.labels['.json'][:1] if (reason := json_kind(tree.path(n)))
    ]
    reasons += [
        f"{n} is CVAT's own XML; {EXPORT}"
        for n in tree.labels['.xml'][:1]
        if b'<annotations' in tree.path(n).read_bytes()[:4096]
    ]
    why = f'. {"; ".join(reasons)}' if reasons else ''
    if format:
        there = _present(tree)
        what = f'the labels look like {" and ".join(there)}: ' if there else ''
        return f'{text}: {", ".join(seen)}{why}; {what}{BY_LOOKING}'
    return (
        f'{text}: {", ".join(seen)}{why}. Looked for COCO (a .json with images, annotations and '
        'categories), YOLO (data.yaml), Pascal VOC (.xml) and class folders (train/<class>/*.jpg)'
    )


def _present(tree: Tree) -> list[str]:
    """The formats in the folder; empty if unknown."""
    try:
        return list(_candidates(tree, None, []))
    except UserError:
        return []
