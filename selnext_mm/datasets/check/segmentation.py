"""Checks of images and label maps of an mmsegmentation data set.

A label beyond the classes ends a training with an error in the loss, which on a GPU does not name
the cause. A missing map ends it in the middle of an epoch.
"""

import inspect
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.image_suffixes import refuse_unlisted
from selnext_mm.datasets.text_lists import read_lines
from selnext_mm.text import counted, preview

LOOKED_AT = 32  # maps that the quick check reads
IGNORED = 255
REMEDY = 'Set reduce_zero_label as the maps have it, complete metainfo.classes, or mend the maps'


def argument(kind: type, dataset: Mapping, name: str, default=None):
    """The value of a data set's argument: as given, else the default of its class."""
    if dataset.get(name) is not None:
        return dataset[name]
    parameter = inspect.signature(kind).parameters.get(name)
    given = parameter is not None and parameter.default not in (parameter.empty, None)
    return parameter.default if parameter is not None and given else default


def _names(folder: Path, suffix: str, ann_file: str, report: Report) -> list[str]:
    """Names of the images without suffix, as the data set lists them."""
    if ann_file and os.path.isfile(ann_file):
        return [line.strip() for line in read_lines(ann_file, report.name)]
    found = [
        os.path.relpath(os.path.join(where, name), folder)
        for where, _, names in os.walk(folder, onerror=refuse_unlisted, followlinks=True)
        for name in names
        if name.endswith(suffix) and not name.startswith('.')
    ]
    return sorted(name[: -len(suffix)] for name in found)


def _reduces(kind: type, dataset: Mapping) -> bool:
    """Whether label 0 of the maps is ignored and all others are reduced by one."""
    for step in dataset.get('pipeline') or ():
        loads = isinstance(step, Mapping) and str(step.get('type')).endswith('LoadAnnotations')
        if loads and step.get('reduce_zero_label') is not None:
            return bool(step['reduce_zero_label'])
    return bool(argument(kind, dataset, 'reduce_zero_label', False))


class _Maps:
    """Collects what is found in the maps."""

    def __init__(self, classes: Sequence[str] | None, shift: int) -> None:
        self.classes, self.shift = classes, shift
        self.bad: dict[str, list[str]] = {'unreadable': [], 'size': [], 'labels': []}
        self.images: Counter[int] = Counter()  # label -> images that have it

    def take(self, image: str, path: str) -> None:
        try:
            with Image.open(path) as file:
                values = np.asarray(file)
            with Image.open(image) as file:
                size = file.size
        except (OSError, ValueError, SyntaxError) as error:
            reason = ' '.join(str(error).split()).replace(repr(path), 'it')
            self.bad['unreadable'].append(f'{path}: {reason}')
            return
        if values.ndim != 2:
            self.bad['unreadable'].append(
                f'{path}: {counted(values.shape[2], "channel")}, labels have one'
            )
            return
        if (values.shape[1], values.shape[0]) != size:
            text = f'{path} is {values.shape[1]} x {values.shape[0]}, its image {size[0]} x'
            self.bad['size'].append(f'{text} {size[1]}')
        labels = [int(v) - self.shift for v in np.unique(values) if v != IGNORED]
        labels = [v for v in labels if v >= 0]
        self.images.update(labels)
        if self.classes is not None and (high := [v for v in labels if v >= len(self.classes)]):
            self.bad['labels'].append(f'{path} has {preview(v + self.shift for v in high)}')

    def finish(self, report: Report, looked_at: int) -> None:
        count = len(self.classes or ())
        texts = {
            'unreadable': ('maps cannot be read as one label per pixel', 'Write them again'),
            'size': ('maps have another size than their image', 'Labels would be misplaced'),
            'labels': (
                f'maps have labels beyond the {counted(count, "class")}'
                + (' (label 0 is ignored, class 0 is label 1)' if self.shift else ''),
                REMEDY,
            ),
        }
        for check, found in self.bad.items():
            if found:
                text, remedy = texts[check]
                report.add('error', check, f'{len(found)} of {looked_at} {text}', remedy, found)


def check_maps(
    kind: type,
    dataset: Mapping,
    classes: Sequence[str] | None,
    name: str = 'data set',
    deep: bool = True,
) -> Report:
    """Check the images and label maps of a data set derived from mmsegmentation's BaseSegDataset.

    Args:
        kind: its class.
        dataset: its dict.
        classes: the class names that it ends up with; None if they are unknown.
        name: for the report.
        deep: read all maps; else some of them, spread over the data set.

    Raises:
        UserError: if the folder or list of the images cannot be read.
    """
    root = os.path.expanduser(str(dataset.get('data_root') or ''))
    prefix = argument(kind, dataset, 'data_prefix', {})
    images = Path(root, prefix.get('img_path') or '')
    maps = prefix.get('seg_map_path')
    suffix = argument(kind, dataset, 'img_suffix', '.jpg')
    map_suffix = argument(kind, dataset, 'seg_map_suffix', '.png')
    ann_file = os.path.join(root, dataset['ann_file']) if dataset.get('ann_file') else ''
    report = Report(name, str(images))
    names = _names(images, suffix, ann_file, report)
    report.images = len(names)
    report.paths = {str(images / f'{n}{suffix}'): None for n in names}
    if not names:
        remedy = f'The config looks for names that end in {suffix!r} (img_suffix)'
        report.add('error', 'images', f'no images in {ann_file or images}', remedy)
    if maps is None:
        return report
    pairs = [
        (str(images / f'{n}{suffix}'), os.path.join(root, maps, n + map_suffix)) for n in names
    ]
    missing = [path for _, path in pairs if not os.path.isfile(path)]
    if missing:
        text = f'{len(missing)} of {len(names)} images have no label map'
        report.add('error', 'maps', text, f'A map ends in {map_suffix!r} (seg_map_suffix)', missing)
    lost = set(missing)
    whole = [pair for pair in pairs if pair[1] not in lost and os.path.isfile(pair[0])]
    report.used = len(whole)
    step = 1 if deep else max(1, len(whole) // LOOKED_AT)
    # If the config selects classes of a data set, the maps have other numbers.
    own = getattr(kind, 'METAINFO', {}).get('classes')
    chosen = own is not None and classes is not None and list(own) != list(classes)
    found = _Maps(None if chosen else classes, int(_reduces(kind, dataset)))
    for pair in whole[::step]:
        found.take(*pair)
    found.finish(report, len(whole[::step]))
    if deep and classes and not chosen:
        counts = [found.images[label] for label in range(len(classes))]
        report.classes = {c: [n, n] for c, n in zip(classes, counts, strict=True)}
    return report
