"""YOLO data sets: data.yaml, images and a text file of labels for each of them."""

import os
from collections.abc import Callable
from pathlib import Path

from selnext_mm.datasets.formats.files import (
    Tree,
    join,
    mmdet_reads,
    read_text,
    read_yaml,
    split_of,
    tails,
)
from selnext_mm.datasets.formats.records import LabelledObject, Labels, SplitLabels, Tally, preview
from selnext_mm.datasets.formats.yolo_text import LabelLines, read_name_lines, read_names
from selnext_mm.errors import UserError

NONE = ('', '~', 'null', 'none')  # spellings of an empty value in YAML
KEYS = {'train': ('train',), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}
FOLDERS = {'images': 'labels', 'Images': 'Labels', 'IMAGES': 'LABELS'}
NAME_FILES = ('classes.txt', 'obj.names', 'predefined_classes.txt')
NOT_LABELS = (*NAME_FILES, 'train.txt', 'val.txt', 'valid.txt', 'test.txt', 'notes.txt')


def is_yolo_yaml(path: Path) -> bool:
    """Whether the YAML file describes a data set.

    Raises:
        UserError: if it cannot be read.
    """
    content = read_yaml(path)
    return ('names' in content or 'nc' in content) and any(k in content for k in ('train', 'val'))


def yaml_files(tree: Tree, problems: list[str]) -> list[str]:
    """Names of the YAML files in the folder, or one below, that describe a data set.

    Others that cannot be read are listed in ``problems``.

    Raises:
        UserError: if data.yaml or dataset.yaml cannot be read.
    """
    names = [n for s in ('.yaml', '.yml') for n in tree.labels[s] if n.count('/') <= 1]
    named = [n for n in names if n.rpartition('/')[2].startswith(('data.', 'dataset.'))]
    found = []
    for name in named or names:
        try:
            if is_yolo_yaml(tree.path(name)):
                found.append(name)
        except UserError as error:
            if named:
                raise
            problems.append(str(error))
    return found


def name_files(tree: Tree) -> list[str]:
    """Files of class names, one per line, for data sets without a YAML file."""
    names = [*tree.labels['.txt'], *tree.labels['.names']]
    return [n for n in names if n.rpartition('/')[2] in NAME_FILES or n.endswith('.names')]


def label_path(image: str) -> tuple[str, ...]:
    """Where the label file of an image may be: ``labels`` replaces ``images``, or beside it."""
    stem = os.path.splitext(image)[0]
    parts = stem.split('/')
    places = [i for i, p in enumerate(parts[:-1]) if p in FOLDERS]
    beside = f'{stem}.txt'
    if not places:
        return (beside,)
    parts[places[-1]] = FOLDERS[parts[places[-1]]]
    return '/'.join(parts) + '.txt', beside


class YoloLabels(Labels):
    """A YOLO data set.

    Args:
        tree: the folder.
        yaml: name of its YAML file; None if there is only a file of class names.
    """

    format = 'yolo'

    def __init__(self, tree: Tree, yaml: str | None) -> None:
        super().__init__()
        self.tree, self.trees = tree, {os.path.abspath(tree.root): tree}
        self.source = tree.path(yaml) if yaml else None
        self.only_boxes = False  # True if keypoints follow the box
        self.images: dict[str, list[str]] = {}  # split -> paths
        self.found_labels: dict[str, str] = {}  # path of an image -> path of its label file
        if yaml:
            self._from_yaml(read_yaml(self.source))
        else:
            self._from_folders()
        self.splits = tuple(self.images)
        for paths in self.images.values():
            self._find_labels(paths)

    def _from_yaml(self, content: dict) -> None:
        path = self.source
        self.names = read_names(content, path)
        gaps = [i for i, name in enumerate(self.names) if name is None]
        if gaps:
            self.choices.append(f'class numbers without a name are left out: {preview(gaps)}')
        self.only_boxes = 'kpt_shape' in content
        if self.only_boxes:
            self.choices.append(
                f'{path.name} describes keypoints, of which the boxes alone are read'
            )
        base = self._base(content.get('path', ''))
        for split, keys in KEYS.items():
            key = next((k for k in keys if k in content), None)
            entries = content.get(key) if key else None
            entries = entries if isinstance(entries, list) else [entries]
            entries = [e for e in entries if e is not None and str(e).lower() not in NONE]
            if not entries:
                continue
            found = [self._resolve(str(e), base) for e in entries]
            lost = [e for e, f in zip(entries, found, strict=True) if f is None]
            if lost and split == 'test':
                self.choices.append(
                    f'no test split: {path.name} names {lost[0]}, which is not there'
                )
                continue
            if lost:
                raise UserError(
                    f'{path}: {key}: {preview(lost[:1])} is not there; looked in {base} and '
                    f'{path.parent}. Correct the path in the file'
                )
            images = sorted({image for f in found for image in self._images(f)})
            if not images:
                raise UserError(
                    f'{path}: {key}: {preview(entries)} holds no images; correct the path, or '
                    f'remove the line'
                )
            self.images[split] = images
        if len(self.images.get('train', ())) and self.images.get('train') == self.images.get('val'):
            self.choices.append(
                'WARNING: train and val are the same images, so the scores are those of training '
                'data; --val 0.2 sets a part aside'
            )

    def _base(self, given) -> Path:
        """The folder to which the paths in the file are relative."""
        given, here = str(given or ''), self.source.parent
        if given.lower() in NONE:
            return here
        spellings = [os.path.join(here, os.path.expanduser(given))]
        spellings += [os.path.join(here, t) for t in tails(given)]
        found = next((s for s in spellings if os.path.isdir(s)), None)
        if found is None:
            self.choices.append(
                f'{self.source.name}: path: {given} is not there; {here} is taken in its place'
            )
        return Path(os.path.normpath(found or here))

    def _resolve(self, entry: str, base: Path) -> str | None:
        """The folder or list that a path in the file refers to."""
        places = dict.fromkeys((base, self.source.parent))
        names = [os.path.expanduser(entry)]
        # Roboflow writes ../train/images for a folder beside the file.
        short = '/' not in entry.strip('./')
        names += [t for t in tails(entry) if '/' in t or short or split_of(t)]
        for name in names:
            for place in places:
                path = os.path.normpath(os.path.join(place, name))
                if os.path.exists(path):
                    if name != names[0]:
                        self.choices.append(f'{self.source.name}: {entry} is taken as {path}')
                    return path
        return None

    def _tree(self, folder: str) -> Tree:
        folder = os.path.abspath(folder)
        if folder not in self.trees:
            self.trees[folder] = Tree(folder)
        return self.trees[folder]

    def _images(self, path: str) -> list[str]:
        """Paths of the images in a folder, or of those listed in a text file."""
        if os.path.isdir(path):
            root = os.path.abspath(self.tree.root)
            below = os.path.relpath(os.path.abspath(path), root).replace(os.sep, '/')
            if below.split('/')[0] != '..':
                prefix = '' if below == '.' else f'{below}/'
                inside = [n for n in self.tree.images if n.startswith(prefix)]
                return [f'{root}/{n}' for n in inside]
            return [os.path.join(os.path.abspath(path), n) for n in self._tree(path).images]
        if mmdet_reads(path):
            return [os.path.abspath(path)]
        found, missing = [], []
        here = os.path.dirname(os.path.abspath(path))
        for line in filter(None, map(str.strip, read_text(path).splitlines())):
            image = self._listed(line, here)
            (missing if image is None else found).append(image or line)
        if missing:
            raise UserError(
                f'{len(missing)} of {len(missing) + len(found)} images that {path} lists are not '
                f'there ({preview(missing)}); correct the list'
            )
        return found

    def _listed(self, line: str, here: str) -> str | None:
        root = os.path.abspath(self.tree.root)
        for name in tails(line):
            for place in (here, root):
                path = os.path.normpath(os.path.join(place, name))
                inside = path.startswith(f'{root}/')
                if path[len(root) + 1 :] in self.tree.image_set if inside else os.path.isfile(path):
                    return path
        return None

    def _from_folders(self) -> None:
        tree = self.tree
        found = name_files(tree)
        self.source = tree.path(found[0])
        self.names = read_name_lines(self.source)
        root, texts = os.path.abspath(tree.root), set(tree.labels['.txt'])
        for image in tree.images:
            split = next(filter(None, map(split_of, image.split('/')[:-1])), '')
            self.images.setdefault(split, []).append(f'{root}/{image}')
        if not any(t in texts for image in tree.images for t in label_path(image)):
            raise UserError(f'{tree.root}: no image has a label file (labels/NAME.txt or NAME.txt)')
        self.choices.append(f'no data.yaml: class names from {found[0]}')

    def _find_labels(self, paths: list[str]) -> None:
        listed: dict[str, set[str]] = {}
        for path in paths:
            for label in label_path(path):
                folder, _, name = label.rpartition('/')
                if folder not in listed:
                    listed[folder] = set(os.listdir(folder)) if os.path.isdir(folder) else set()
                if name in listed[folder]:
                    self.found_labels[path] = label
                    break

    def files(self) -> list[Path]:
        return [self.source, *map(Path, self.found_labels.values())]

    def image_files(self) -> list[str]:
        return [path for paths in self.images.values() for path in paths]

    def class_names(self) -> list[str]:
        return [name for name in self.names if name is not None]

    def prepare(self, tally: Tally, advance: Callable[[int], None]) -> None:
        used = set(self.found_labels.values())
        root = os.path.abspath(self.tree.root)
        folders = {os.path.dirname(label) for label in used}
        for name in self.tree.labels['.txt']:
            path = f'{root}/{name}'
            own = os.path.basename(path) not in NOT_LABELS and os.path.dirname(path) in folders
            if own and path not in used:
                tally.add('label without image', name)

    def read(self, split: str, tally: Tally) -> SplitLabels:
        paths = self.images[split]
        root = os.path.commonpath([os.path.dirname(p) for p in paths])
        for path in paths:
            if path not in self.found_labels:
                tally.add('image without label file', path[len(root) + 1 :])
        if not any(path in self.found_labels for path in paths) and split != 'test':
            expected = label_path(paths[0])[0]
            raise UserError(
                f'no image of {split or "the set"} has a label file, e.g. {expected} for '
                f'{paths[0]}; put the labels there'
            )

        lines = LabelLines(self.names, self.source.name, self.only_boxes)

        def objects(name: str, width: int, height: int) -> list[LabelledObject]:
            label = self.found_labels.get(join(root, name))
            return [] if label is None else lines.read(label, width, height)

        return SplitLabels(Path(root), sorted(p[len(root) + 1 :] for p in paths), objects)
