"""The files of a data set: one listing of the folder, and safe readers of text, YAML and XML."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from selnext_mm.datasets.image_suffixes import (
    DRAWN,
    IMAGE_SUFFIXES,
    UNREAD_SUFFIXES,
    is_special,
    of_a_prediction,
)
from selnext_mm.errors import UserError
from selnext_mm.text import visible

# mmdet reads with OpenCV, which before 4.11 cannot decode a GIF.
SUFFIXES = tuple(s for s in IMAGE_SUFFIXES if s != '.gif')
OF_A_RUN = 'last_checkpoint'  # marks the folder of a run, which contains no labels
UNREAD = ('.gif', *UNREAD_SUFFIXES)
LABELS = ('.json', '.xml', '.txt', '.yaml', '.yml', '.names', '.csv')
IMAGE_FOLDERS = ('JPEGImages', 'images', 'Images', 'imgs', 'img')
MAX_YAML = 4 << 20  # bytes; LVIS's 1203 names take 40,000
SPLIT_WORDS = {
    'train': 'train', 'training': 'train', 'trainval': 'train',
    'val': 'val', 'valid': 'val', 'validation': 'val', 'dev': 'val',
    'test': 'test', 'testing': 'test',
}  # fmt: skip


def mmdet_reads(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def hidden(name: str) -> bool:
    """Whether ``name`` is hidden, or added to archives by macOS."""
    return name.startswith('.') or name == '__MACOSX'


def split_of(name: str) -> str:
    """'train', 'val' or 'test' if the name has such a word (``instances_train2017``), else ''."""
    for word in re.split(r'[^a-z]+', name.lower()):
        if word in SPLIT_WORDS:
            return SPLIT_WORDS[word]
    return ''


class Tree:
    """The images and label files below a folder, as sorted paths relative to it, with ``/``.

    Links are followed; a folder that is found twice is listed once. Hidden files are left out, as
    are folders of runs and predictions. If the root is a prediction folder, only the drawn images
    are left out.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        self.root = Path(root)
        self.images: list[str] = []
        self.unread: list[str] = []  # images of formats that mmdet cannot read
        self.predicted: list[str] = []  # folders of predictions
        self.labels: dict[str, list[str]] = {suffix: [] for suffix in LABELS}
        self._scan()
        self.images.sort()
        for names in self.labels.values():
            names.sort()
        self.image_set = set(self.images)
        self._by_name: dict[str, list[str]] | None = None

    def _scan(self) -> None:
        met, waiting = set(), ['']
        while waiting:
            folder = waiting.pop()
            path = os.path.join(self.root, folder)
            try:
                state = os.stat(path)
                if (state.st_dev, state.st_ino) in met:
                    continue
                met.add((state.st_dev, state.st_ino))
                entries = sorted(os.scandir(path), key=lambda e: e.name)
            except OSError as error:
                raise UserError(f'{path}: cannot be listed ({error.strerror or error})') from error
            if folder and any(entry.name == OF_A_RUN for entry in entries):
                continue
            predicted = of_a_prediction({entry.name for entry in entries})
            if folder and predicted:
                self.predicted.append(folder)
                continue
            below = []
            for entry in entries:
                if hidden(entry.name) or (predicted and entry.name == DRAWN):
                    continue
                name = f'{folder}/{entry.name}' if folder else entry.name
                # A DirEntry raises for a cycle of links.
                if os.path.isdir(entry) if entry.is_symlink() else entry.is_dir():
                    below.append(name)
                elif not entry.is_file(follow_symlinks=False) and is_special(entry):
                    continue
                elif mmdet_reads(entry.name):
                    self.images.append(name)
                else:
                    suffix = os.path.splitext(entry.name)[1].lower()
                    if suffix in self.labels:
                        self.labels[suffix].append(name)
                    elif suffix in UNREAD:
                        self.unread.append(name)
            waiting += reversed(below)

    def path(self, name: str) -> Path:
        return self.root / name

    def named(self, name: str) -> list[str]:
        """The images with this file name, in any folder."""
        if self._by_name is None:
            self._by_name = defaultdict(list)
            for image in self.images:
                self._by_name[image.rpartition('/')[2]].append(image)
        return self._by_name.get(name, [])

    def like(self, name: str) -> str:
        """' (did you mean ...?)' for an image with a similar name or another suffix."""

        def stem(path: str) -> str:
            return os.path.splitext(re.split(r'[/\\]', path)[-1].strip())[0].casefold()

        wanted = stem(name)
        found = next((image for image in self.images if wanted and stem(image) == wanted), None)
        return f' (did you mean {visible(found)}?)' if found else ''

    def folders(self) -> list[str]:
        """The folders that contain images at any depth, '' for the root, by depth and name."""
        found = {''}
        for folder in {image.rpartition('/')[0] for image in self.images}:
            while folder not in found:
                found.add(folder)
                folder = folder.rpartition('/')[0]
        return sorted(found, key=lambda f: (f.count('/') + bool(f), f))


def join(folder: str, name: str) -> str:
    return f'{folder}/{name}' if folder else name


def tails(name: str) -> Iterable[str]:
    """Variants of a file name in labels, the full one first, then without leading folders:
    it may come from another machine, from Windows or from a URL, or be escaped."""
    name = name.strip()
    yield name
    if '://' in name:
        name = urlsplit(name).path
    name = name.replace('\\', '/')
    for spelling in dict.fromkeys((name, unquote(name))):
        parts = [p for p in spelling.split('/') if p not in ('', '.', '..')]
        for start in range(len(parts)):
            yield '/'.join(parts[start:])


def read_text(path: str | os.PathLike) -> str:
    """The text of a small label file.

    Raises:
        UserError: if it cannot be read or is not UTF-8.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
    if data[:2] in (b'\xff\xfe', b'\xfe\xff'):
        raise UserError(f'{path} is written in UTF-16; save it as UTF-8')
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(
            f'{path} is not a text file in UTF-8 ({error.reason}); save it as UTF-8'
        ) from error


def _missing(package: str, error: ImportError) -> UserError:
    text = f'reading these labels needs {package}, which is not installed here: pip install '
    return UserError(f'{text}"selnext_mm[formats]" (or: pip install {package})')


def read_yaml(path: str | os.PathLike) -> dict:
    """A YAML mapping whose scalars are all strings: ``names: [no, 1]`` gives 'no' and '1'.

    Tags that create Python objects are refused, as are aliases, which can expand a small file into
    a huge one.

    Raises:
        UserError: if it is unreadable, refused or not a mapping.
    """
    try:
        import yaml
    except ImportError as error:
        raise _missing('pyyaml', error) from error

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers = {}

        def compose_node(self, parent, index):
            if self.check_event(yaml.events.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.composer.ComposerError(
                    None, None, 'an alias (*name), which is not read: write the value out', mark
                )
            return super().compose_node(parent, index)

    text = read_text(path)
    if len(text) > MAX_YAML:
        raise UserError(
            f'{path} is {len(text) >> 20} MB large; the YAML file of a data set has a few lines of '
            'paths and names. Name the right file'
        )
    try:
        content = yaml.load(text, Loader)  # a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, 'problem_mark', None)
        where = f', line {mark.line + 1}' if mark else ''
        what = getattr(error, 'problem', None) or getattr(error, 'reason', None) or error
        raise UserError(f'{path}{where}: not YAML that is read here: {what}') from error
    except RecursionError as error:
        raise UserError(f'{path}: not YAML that is read here: nested too deep') from error
    if not isinstance(content, dict):
        raise UserError(
            f'{path} holds no mapping; a YOLO data set has "train:", "val:" and "names:"'
        )
    return content


def read_xml(path: str | os.PathLike):
    """The root element of an XML file, its tags without namespaces.

    Document types, and so all entities, are refused.

    Raises:
        UserError: if it is unreadable or refused.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError as error:
        raise _missing('defusedxml', error) from error
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error.strerror or error})') from error
    if data.lstrip().startswith(b'<?xml'):  # some tools begin with an empty line
        data = data.lstrip()
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException as error:
        raise UserError(
            f'{path} has a document type (<!DOCTYPE ...>), which is not read because its entities '
            'can fill the memory; labels need none, remove it'
        ) from error
    except (ParseError, ValueError, LookupError, RecursionError) as error:
        raise UserError(
            f'{path} is not XML that can be read ({error}); export it again or remove it'
        ) from error
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = element.tag.rpartition('}')[2]
    return root
