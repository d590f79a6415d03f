"""The synthetic shapes data set as COCO files: ``train2017/``, ``val2017/``, ``annotations/``.

Image k of a split depends only on (seed, split, k, size), so a larger set begins with the
smaller one, and the same call writes the same bytes.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from selnext_mm.datasets.shape_scene import CLASSES, REFERENCE_SIZE, SPLITS, Scene, draw_scene
from selnext_mm.disk import fresh_folder
from selnext_mm.errors import UserError

__all__ = ['CLASSES', 'SPLITS', 'Scene', 'Summary', 'draw_scene', 'write_shapes']

GENERATOR = 'selnext_mm.datasets.shapes'
VERSION = 2  # increase it when the same arguments draw something else
FIRST_ID = {'train': 1, 'val': 500_001}  # unique over both splits, as in COCO
MAX_IMAGES = 100_000
SIZES = (64, 1024)
JPEG_QUALITY = 92


@dataclass
class Summary:
    """The content of a data set; ``written`` is False if it already existed."""

    folder: Path
    written: bool
    images: dict[str, int]
    classes: dict[str, Counter] = field(default_factory=dict)  # split -> class name -> objects
    scales: dict[str, Counter] = field(default_factory=dict)  # split -> small|medium|large


def annotation_file(folder: Path, split: str) -> Path:
    return Path(folder) / 'annotations' / f'instances_{split}2017.json'


def write_shapes(
    folder: str | os.PathLike,
    train: int = 400,
    val: int = 100,
    size: int = REFERENCE_SIZE,
    seed: int = 0,
    force: bool = False,
) -> Summary:
    """Draw ``train`` + ``val`` images of ``size`` x ``size`` pixels into ``folder``.

    The folder is created completely or not at all. A folder with the same data set is left alone;
    ``force`` rewrites only a folder made by this generator.

    Raises :class:`UserError` for a value out of range, for a folder with other content, and if
    the folder cannot be written.
    """
    _check('train', train, 1, MAX_IMAGES)
    _check('val', val, 1, MAX_IMAGES)
    _check('size', size, *SIZES)
    _check('seed', seed, 0, 2**63 - 1)
    folder = Path(folder).expanduser().resolve()
    wanted = {
        split: _parameters(split, count, size, seed)
        for split, count in zip(SPLITS, (train, val), strict=True)
    }
    try:
        if _must_write(folder, wanted, force):
            _write(folder, wanted)
            return _summary(folder, written=True)
        return _summary(folder, written=False)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f'cannot write the data set to {folder}: {reason}') from error


def _check(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise UserError(f'{name}={value}; expected a whole number from {low} to {high}')


def _parameters(split: str, count: int, size: int, seed: int) -> dict:
    return {
        'name': GENERATOR,
        'version': VERSION,
        'split': split,
        'images': count,
        'size': size,
        'seed': seed,
    }


def _load(folder: Path, split: str) -> dict | None:
    """The annotations of ``split`` if this generator wrote them, else None."""
    try:
        data = json.loads(annotation_file(folder, split).read_text(encoding='utf-8'))
        return data if data['info']['generator']['name'] == GENERATOR else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _must_write(folder: Path, wanted: dict[str, dict], force: bool) -> bool:
    """False if the wanted data set already exists; UserError for other content."""
    if not os.path.lexists(folder):
        return True
    if not folder.is_dir():
        raise UserError(f'{folder} is a file; give the path of a new folder')
    if not any(folder.iterdir()):
        return True
    found = {split: _load(folder, split) for split in SPLITS}
    if None in found.values():
        raise UserError(
            f'{folder} is not empty and holds no shapes data set of this command; give another '
            'folder (--force replaces only a folder made by make-shapes)'
        )
    expected = {annotation_file(folder, split) for split in SPLITS} | {
        folder / f'{split}2017' / image['file_name']
        for split, data in found.items()
        for image in data['images']
    }
    present = {path for path in folder.rglob('*') if path.is_symlink() or not path.is_dir()}
    same = all(found[split]['info']['generator'] == wanted[split] for split in SPLITS)
    if force:
        strange = sorted(present - expected)
        if strange:
            raise UserError(
                f'{folder} holds a file that make-shapes did not write: {strange[0]}; '
                'move it away, or give another folder'
            )
        return True
    if not same:
        kept = ('images', 'size', 'seed', 'version')
        differs = [
            f'{split} {key} {found[split]["info"]["generator"].get(key)} (asked: {value})'
            for split in SPLITS
            for key, value in wanted[split].items()
            if key in kept and found[split]['info']['generator'].get(key) != value
        ]
        raise UserError(
            f'{folder} holds another shapes data set: {", ".join(differs)}; '
            'give another folder, or --force to replace it'
        )
    missing = sorted(expected - present)
    if missing:
        raise UserError(
            f'{folder} lacks {len(missing)} of its files, first {missing[0]}; '
            'give --force to write the data set again'
        )
    return False


def _write(folder: Path, wanted: dict[str, dict]) -> None:
    """Write beside ``folder``, then rename, so that a half-written data set is never visible."""
    with fresh_folder(folder, existing='replace') as fresh:
        for parameters in wanted.values():
            _write_split(fresh, parameters)


def _write_split(folder: Path, parameters: dict) -> None:
    split, size = parameters['split'], parameters['size']
    pictures = folder / f'{split}2017'
    pictures.mkdir()
    images, annotations = [], []
    for image_id, scene in _scenes(parameters):
        name = f'{image_id:012d}.jpg'
        bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)
        _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        (pictures / name).write_bytes(data.tobytes())
        images.append(
            {'id': image_id, 'file_name': name, 'height': size, 'width': size, 'license': 1}
        )
        annotations += [
            {'id': 10 * image_id + i, 'image_id': image_id, **annotation}
            for i, annotation in enumerate(scene.annotations)
        ]
    content = {
        'info': {
            'description': f'synthetic shapes, {split}',
            'version': str(VERSION),
            'year': 2024,
            'contributor': 'selnext-mm make-shapes',
            'url': '',
            'date_created': '2024/01/01',
            'generator': parameters,
        },
        'licenses': [
            {
                'id': 1,
                'name': 'CC0 1.0',
                'url': 'https://creativecommons.org/publicdomain/zero/1.0/',
            }
        ],
        'images': images,
        'annotations': annotations,
        'categories': [
            {'id': i + 1, 'name': name, 'supercategory': 'shape'} for i, name in enumerate(CLASSES)
        ],
    }
    target = annotation_file(folder, split)
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(content, separators=(',', ':')), encoding='utf-8')


def _scenes(parameters: dict) -> Iterator[tuple[int, Scene]]:
    split = parameters['split']
    for k in range(parameters['images']):
        yield FIRST_ID[split] + k, draw_scene(parameters['seed'], split, k, parameters['size'])


def _scale_name(area: float) -> str:
    """COCO's size groups, by area in square pixels."""
    return 'small' if area < 32**2 else 'medium' if area <= 96**2 else 'large'


def _summary(folder: Path, written: bool) -> Summary:
    data = {split: _load(folder, split) for split in SPLITS}
    result = Summary(folder, written, {split: len(d['images']) for split, d in data.items()})
    for split, content in data.items():
        objects = content['annotations']
        result.classes[split] = Counter(CLASSES[a['category_id'] - 1] for a in objects)
        result.scales[split] = Counter(_scale_name(a['area']) for a in objects)
    return result
