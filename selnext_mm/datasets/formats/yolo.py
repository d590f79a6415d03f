"""YOLO labels: one text file per image, boxes or polygons as fractions of the image.

A line is ``class x y w h`` (the box's centre and size) or ``class x1 y1 x2 y2 x3 y3 ...`` (a
polygon, oriented boxes included); the fractions belong to the image as it is shown.
"""

import os
from collections.abc import Callable
from pathlib import Path

from selnext_mm.datasets.formats.files import (
    Tree,
    is_image,
    join,
    read_text,
    read_yaml,
    split_of,
    tails,
)
from selnext_mm.datasets.formats.geometry import (
    USUAL_DIGITS,
    decimals,
    is_finite,
    polygon_box,
    shortest,
    uncertainty,
)
from selnext_mm.datasets.formats.records import LabelledObject, Labels, SplitLabels, Tally, preview
from selnext_mm.errors import UserError

BOX = 5  # numbers of a line with a box
NONE = ('', '~', 'null', 'none')  # how YAML says that there is none
KEYS = {'train': ('train',), 'val': ('val', 'valid', 'validation'), 'test': ('test',)}
NAME_FILES = ('classes.txt', 'obj.names', 'predefined_classes.txt')
NOT_LABELS = (*NAME_FILES, 'train.txt', 'val.txt', 'valid.txt', 'test.txt', 'notes.txt')


def is_yolo_yaml(path: Path) -> bool:
    """Does the YAML file describe a data set?

    Raises:
        UserError: if it cannot be read.
    """
    content = read_yaml(path)
    return ('names' in content or 'nc' in content) and any(k in content for k in ('train', 'val'))


def yaml_files(tree: Tree, problems: list[str]) -> list[str]:
    """Names of the YAML files in the folder, or one below, that describe a data set.

    Others that cannot be read are told in ``problems``.

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
    """Files of class names, one a line, for sets without a YAML file."""
    names = [*tree.labels['.txt'], *tree.labels['.names']]
    return [n for n in names if n.rpartition('/')[2] in NAME_FILES or n.endswith('.names')]


def label_path(image: str) -> tuple[str, ...]:
    """Where the label file of an image may be: ``labels`` for the last ``images``, or beside."""
    stem = os.path.splitext(image)[0]
    parts = stem.split('/')
    places = [i for i, p in enumerate(parts[:-1]) if p == 'images']
    beside = f'{stem}.txt'
    if not places:
        return (beside,)
    parts[places[-1]] = 'labels'
    return '/'.join(parts) + '.txt', beside


class YoloLabels(Labels):
    """A YOLO data set.

    Args:
        tree: the folder.
        yaml: name of its YAML file; None for one that has a file of class names alone.
    """

    format = 'yolo'

    def __init__(self, tree: Tree, yaml: str | None) -> None:
        super().__init__()
        self.tree, self.trees = tree, {os.path.abspath(tree.root): tree}
        self.source = tree.path(yaml) if yaml else None
        self.only_boxes = False  # keypoints follow the box
        self.images: dict[str, list[str]] = {}  # split -> paths
        self.found_labels: dict[str, str] = {}  # path of an image -> of its label file
        if yaml:
            self._from_yaml(read_yaml(self.source))
        else:
            self._from_folders()
        self.splits = tuple(self.images)
        for paths in self.images.values():
            self._find_labels(paths)

    def _from_yaml(self, content: dict) -> None:
        path = self.source
        self.names = _names(content, path)
        gaps = [i for i, name in enumerate(self.names) if name is None]
        if gaps:
            self.choices.append(f'class numbers without a name are left out: {preview(gaps)}')
        self.only_boxes = 'kpt_shape' in content
        if self.only_boxes:
            self.choices.append(f'{path.name} describes keypoints, of which only the boxes are read')
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
                self.choices.append(f'no test split: {path.name} names {lost[0]}, which is not there')
                continue
            if lost:
                raise UserError(
                    f'{path}: {key}: {lost[0]} is not there; looked in {base} and {path.parent}. '
                    'Correct the path in the file'
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
        """The folder that the paths of the file are relative to."""
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
        """The folder or list that a path in the file means."""
        places = dict.fromkeys((base, self.source.parent))
        names = [os.path.expanduser(entry)]
        # Roboflow writes ../train/images for a folder beside the file.
        names += [t for t in tails(entry) if '/' in t or '/' not in entry.strip('./')]
        for name in names:
            for place in places:
                path = os.path.normpath(os.path.join(place, name))
                if os.path.exists(path):
                    return path
        return None

    def _tree(self, folder: str) -> Tree:
        folder = os.path.abspath(folder)
        if folder not in self.trees:
            self.trees[folder] = Tree(folder)
        return self.trees[folder]

    def _images(self, path: str) -> list[str]:
        """Paths of the images of a folder, or of those that a text file lists."""
        if os.path.isdir(path):
            root = os.path.abspath(self.tree.root)
            below = os.path.relpath(os.path.abspath(path), root).replace(os.sep, '/')
            if below.split('/')[0] != '..':
                prefix = '' if below == '.' else f'{below}/'
                inside = [n for n in self.tree.images if n.startswith(prefix)]
                return [f'{root}/{n}' for n in inside]
            return [os.path.join(os.path.abspath(path), n) for n in self._tree(path).images]
        if is_image(path):
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
        self.names = [line.strip() for line in read_text(self.source).splitlines() if line.strip()]
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

        def objects(name: str, width: int, height: int) -> list[LabelledObject]:
            label = self.found_labels.get(join(root, name))
            return [] if label is None else self._parse(label, width, height)

        return SplitLabels(Path(root), sorted(p[len(root) + 1 :] for p in paths), objects)

    def _parse(self, path: str, width: int, height: int) -> list[LabelledObject]:
        rows = [(i, line.split()) for i, line in enumerate(read_text(path).splitlines(), 1)]
        rows = [(i, tokens) for i, tokens in rows if tokens]
        try:
            most = max((decimals(t) for _, row in rows for t in row[1:]), default=0)
            return [self._object(tokens, width, height, min(USUAL_DIGITS, most)) for _, tokens in rows]
        except ValueError:
            pass
        for i, tokens in rows:  # which line was it?
            try:
                self._object(tokens, width, height, 0)
            except ValueError as error:
                raise UserError(f'{path}, line {i}: {error}') from error
        raise UserError(f'{path}: not lines of numbers')

    def _object(self, tokens: list[str], width: int, height: int, digits: int) -> LabelledObject:
        name = self._class(tokens[0])
        numbers = [float(t) for t in tokens[1:]]
        if not is_finite(numbers):
            raise ValueError('a number that is not finite; correct the line')
        scales = (width, height)
        box = len(numbers) == BOX - 1 or self.only_boxes or len(numbers) == BOX
        if box:
            if len(numbers) < BOX - 1:
                raise ValueError(f'{len(numbers)} numbers behind the class; a box has 4')
            if max(map(abs, numbers[:4])) > 2:
                raise ValueError(
                    f'{" ".join(tokens[1:5])} are no fractions of the image; YOLO boxes are '
                    'x_center y_center width height between 0 and 1'
                )
            bbox = [0.0] * 4
            for i, scale in enumerate(scales):
                centre, side = tokens[1 + i], tokens[3 + i]
                error = uncertainty(side, digits, scale)
                bbox[2 + i] = shortest(numbers[2 + i] * scale, error)
                error = uncertainty(centre, digits, scale) + error / 2
                bbox[i] = shortest(numbers[i] * scale - numbers[2 + i] * scale / 2, error)
            return LabelledObject(name, bbox)
        if len(numbers) < 6 or len(numbers) % 2:
            raise ValueError(
                f'{len(numbers)} numbers behind the class; a box has 4, a polygon an even number '
                'from 6 on'
            )
        polygon = [
            shortest(v * scales[i % 2], uncertainty(tokens[1 + i], digits, scales[i % 2]))
            for i, v in enumerate(numbers)
        ]
        return LabelledObject(name, polygon_box([polygon]), [polygon])

    def _class(self, token: str) -> str:
        number = float(token)
        names = self.names
        if not number.is_integer() or not 0 <= number < len(names) or names[int(number)] is None:
            raise ValueError(
                f'class {token}, but {self.source.name} names the classes 0 to {len(names) - 1}; '
                'correct the line or the names'
            )
        return names[int(number)]


def _names(content: dict, path: Path) -> list[str | None]:
    """Class names by number, None in a gap."""
    names, count = content.get('names'), content.get('nc')
    remedy = 'write "names: [cat, dog]", or "names:" with lines "0: cat"'
    if isinstance(names, dict):
        try:
            numbered = {int(k): v for k, v in names.items()}
        except ValueError as error:
            raise UserError(f'{path}: names has a key that is no number; {remedy}') from error
        if len(numbered) < len(names) or min(numbered, default=0) < 0:
            raise UserError(f'{path}: names uses a number twice or one below 0; {remedy}')
        if max(numbered, default=0) > 100_000:
            raise UserError(f'{path}: names has the class number {max(numbered)}; {remedy}')
        names = [numbered.get(i) for i in range(max(numbered, default=-1) + 1)]
    if not isinstance(names, list) or not names:
        raise UserError(f'{path}: no list of class names; {remedy}')
    wrong = [n for n in names if n is not None and not (isinstance(n, str) and n.strip())]
    if wrong:
        raise UserError(f'{path}: {wrong[0]!r} is no class name; {remedy}')
    names = [n if n is None else n.strip() for n in names]
    twice = {n for n in names if n is not None and names.count(n) > 1}
    if twice:
        raise UserError(f'{path}: the class name {preview(sorted(twice))} occurs twice; {remedy}')
    if isinstance(count, str) and count.isdecimal() and int(count) != len(names):
        raise UserError(
            f'{path}: nc is {count}, names has {len(names)} entries; correct one of them'
        )
    return names
