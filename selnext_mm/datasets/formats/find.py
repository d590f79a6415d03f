"""From a folder or file of labels to COCO files: detect the format, convert the labels once."""

import json
import os
import re
import unicodedata
from collections import defaultdict
from pathlib import Path

from selnext_mm.datasets.formats.cache import (
    MANIFEST,
    cache_folder,
    fingerprint,
    folder_of,
    read_manifest,
)
from selnext_mm.datasets.formats.classify import list_classes
from selnext_mm.datasets.formats.convert import Conversion, Parts
from selnext_mm.datasets.formats.detect import open_labels
from selnext_mm.datasets.formats.faults import SeveralFaultsError
from selnext_mm.datasets.formats.folders import FolderLabels
from selnext_mm.datasets.formats.progress import progress_bar
from selnext_mm.datasets.formats.records import SPLITS, DatasetInfo, Labels, Split
from selnext_mm.errors import UserError
from selnext_mm.text import visible


def find_dataset(
    path: str | os.PathLike,
    format: str | None = None,
    val: float | str | os.PathLike | None = None,
    seed: int = 0,
    progress: bool = True,
) -> DatasetInfo:
    """Detect the labels in a folder, and convert them to COCO files.

    The converted files are in a cache folder whose name depends on the content of the labels, so
    the same labels are converted only once. Nothing is written into ``path``.

    Args:
        path: the folder of a data set, a COCO .json or a YOLO data.yaml.
        format: ``coco``, ``lvis``, ``yolo``, ``voc`` or ``folders``; None detects it.
        val: what to validate on: a share of the training images, or the folder of another data
            set. None: the ``val`` split, or a fifth of the training images if there is none.
        seed: of the choice of these images.
        progress: show a progress bar on stderr if the conversion takes longer than a second.

    Raises:
        UserError: for no labels, labels of several formats, or unusable labels; the message says
        what is wrong, where, and what to do.
    """
    try:
        return _find(path, format, val, seed, progress)
    except SeveralFaultsError:
        raise
    except UserError as error:
        # Names of files and classes are untrusted: unprintable characters are escaped.
        raise UserError(visible(str(error))) from error


def _find(
    path: str | os.PathLike,
    format: str | None,
    val: float | str | os.PathLike | None,
    seed: int,
    progress: bool,
) -> DatasetInfo:
    labels = open_labels(path, format)
    fraction, other = _validation(val)
    parts, choices = _parts(labels, fraction, other, format)
    sources = list(dict.fromkeys(part for part, _ in parts.values()))
    options = dict(
        format=labels.format,
        parts={split: [sources.index(part), name] for split, (part, name) in parts.items()},
        fraction=fraction,
        seed=seed if 'val' not in parts else 0,
    )
    key = fingerprint(
        options,
        labels.root,
        [file for part in sources for file in part.files()],
        [image for part in sources for image in part.image_files()],
    )
    folder = folder_of(labels.root, key)
    manifest = read_manifest(folder)
    kept = manifest is not None
    if manifest is None:
        with cache_folder(folder) as temporary, progress_bar(progress) as advance:
            if isinstance(labels, FolderLabels):
                manifest = list_classes(parts, temporary, fraction, seed)
            else:
                manifest = Conversion(parts, temporary, advance).run(fraction, seed)
            for split in manifest['splits'].values():
                split['image_root'] = _relative(split['image_root'], labels.root)
            text = json.dumps(dict(key=key, options=options, **manifest), indent=1)
            (temporary / MANIFEST).write_text(text, encoding='ascii')
        manifest = read_manifest(folder) or manifest
    return _info(labels, manifest, choices, folder, kept)


def _relative(path: str, root: Path) -> str:
    """Paths below the root become relative, so that a moved folder keeps its cache."""
    path, base = os.path.abspath(path), os.path.abspath(root)
    inside = path == base or path.startswith(f'{base}/')
    return os.path.relpath(path, base) if inside else path


def _validation(val) -> tuple[float | None, Path | None]:
    """(share of the training images, folder of another data set); at most one is given."""
    if val is None:
        return None, None
    remedy = 'give a share such as 0.2, or the folder of a labelled data set'
    try:
        fraction = float(val)
    except (TypeError, ValueError):
        folder = Path(val).expanduser()
        if not folder.exists():
            raise UserError(f'--val {val}: no such folder; {remedy}') from None
        return None, folder
    if not 0 < fraction < 1:
        raise UserError(f'--val {val} is not between 0 and 1; {remedy}')
    return fraction, None


def _parts(
    labels: Labels, fraction: float | None, other: Path | None, format: str | None
) -> tuple[Parts, list[str]]:
    """The splits to use, and the choices that were made."""
    choices = []
    parts = {split: (labels, split) for split in SPLITS if split in labels.splits}
    if 'train' not in parts:
        if '' not in labels.splits:
            raise UserError(
                f'{labels.root} has no training images, only {" and ".join(parts)}; name the '
                'folder or file of the training labels "train", or give it alone'
                + ''.join(f'. {line}' for line in labels.choices)
            )
        parts['train'] = (labels, '')
    if fraction is not None and parts.pop('val', None):
        choices.append('the val split is not used: --val takes a part of the training images')
    if other is not None:
        found = open_labels(other, format)
        source = next((s for s in ('val', '', 'test', 'train') if s in found.splits), None)
        if isinstance(found, FolderLabels) != isinstance(labels, FolderLabels):
            raise UserError(
                f'--val {other} has labels of the format {found.format}, {labels.root} of the '
                f'format {labels.format}: one is for classification; give labels of one kind'
            )
        parts['val'] = (found, source)
        choices.append(f'val: {source or "all"} images of {other}')
    return parts, choices


def _twins(classes: list[str]) -> str:
    """The names that differ only in case, spaces or Unicode form; '' if there are none."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        plain = unicodedata.normalize('NFKC', name).casefold()
        groups[re.sub(r'[\s_-]+', ' ', plain)].append(name)
    return '; '.join(', '.join(map(repr, g)) for g in groups.values() if len(g) > 1)


def _info(labels, manifest, choices, folder, kept) -> DatasetInfo:
    splits = {
        name: Split(
            Path(os.path.normpath(labels.root / split['image_root'])),
            folder / split['annotations'],
            split['images'],
            split['objects'],
            split.get('bitmaps') == 0,
        )
        for name, split in manifest['splits'].items()
    }
    first = [f'format {manifest["format"]}, task {manifest["task"]}: {labels.root}']
    twins = _twins(manifest['classes'])
    if twins:
        first += [f'WARNING: class names that look alike are classes of their own: {twins}']
    last = [f'{"labels converted before" if kept else "converted labels"}: {folder}']
    return DatasetInfo(
        root=labels.root,
        format=manifest['format'],
        task=manifest['task'],
        classes=tuple(manifest['classes']),
        splits=splits,
        choices=(*first, *choices, *manifest['choices'], *last),
        cache=folder,
        no_masks=manifest.get('no_masks', ''),
    )
