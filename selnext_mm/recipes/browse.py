"""Images with their labels, as they are in the files and as the model is trained on them."""

import base64
import html
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import set_random_seed
from PIL import Image
from pycocotools import mask as mask_utils

from selnext_mm.config.build import quiet
from selnext_mm.config.load import load_config, set_data_root
from selnext_mm.config.walk import iter_datasets
from selnext_mm.datasets.check.config import stop_on_bad_labels
from selnext_mm.datasets.check.drawn import mask_of
from selnext_mm.datasets.coco_api import read_data_as_checked, without_its_prints
from selnext_mm.datasets.formats import find_dataset
from selnext_mm.datasets.formats.records import preview
from selnext_mm.datasets.pixels import read_rgb
from selnext_mm.disk import write_text
from selnext_mm.engine.preflight.paths import check_paths
from selnext_mm.errors import UserError
from selnext_mm.recipes.check import is_labels, refuse_foreign
from selnext_mm.recipes.label_maps import labels_of, regions
from selnext_mm.recipes.resolve import resolve
from selnext_mm.text import counted
from selnext_mm.visualization.draw import (
    Cell,
    Instance,
    class_colours,
    compose,
    draw_instances,
    save_sheet,
)
from selnext_mm.visualization.panel import choose_images

TILE = 280  # pixels of the longer side in the sheet
LONGEST = 3 * TILE  # longer side of a thin image
UNREADABLE = 'cannot be read'
JPEG_QUALITY = 88


@dataclass
class View:
    """One RGB image with its objects or, for classification, its class."""

    image: np.ndarray
    instances: list[Instance] = field(default_factory=list)
    label: str = ''


def config_to_show(
    data: str | Path,
    split: str = 'train',
    format: str | None = None,
    data_root: str | None = None,
    options: dict | None = None,
) -> Config:
    """The config itself, or for labels of any format the config of the recipe that trains on them.

    Args:
        data: labels, or a config.
        split: train, val or test.
        format: of the labels; None detects it.
        data_root, options: folder of the data set of a config, and values to change in it.

    Raises:
        UserError: for options of the other kind, a missing split, and missing files.
    """
    labels = is_labels(data)
    of_config = {'--data-root': data_root, '--cfg-options': options}
    refuse_foreign(data, labels, {'--format': format}, of_config)
    if labels:
        info = find_dataset(data, format=format)
        if split not in info.splits:
            raise UserError(f'--split {split}: {data} has {", ".join(info.splits)}')
        cfg, _ = resolve(info)
    else:
        cfg = load_config(data, options)
        if data_root:
            set_data_root(cfg, data_root)
    check_paths(cfg, (f'{split}_dataloader',))
    return cfg


def build_dataset(cfg: Config, split: str = 'train'):
    """The data set of a split, including its pipeline, as in training.

    Raises:
        UserError: if the config has none, or its labels would ruin a training.
    """
    loader = f'{split}_dataloader'
    if not list(iter_datasets(cfg, (loader,))):
        raise UserError(f'the config has no {loader}: there is nothing to show')
    stop_on_bad_labels(cfg, loader)
    scope = cfg.get('default_scope', 'mmengine')
    read_data_as_checked(scope)
    with quiet(), without_its_prints(), DefaultScope.overwrite_default_scope(scope):
        dataset = DATASETS.build(cfg[loader].dataset)
        if hasattr(dataset, 'full_init'):
            dataset.full_init()
    return dataset


def _xywh(box) -> list[float]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return [x0, y0, x1 - x0, y1 - y0]


def raw_view(dataset, index: int, names: list[str]) -> tuple[str, View | None]:
    """File and labels of an item before its pipeline; None for an image that cannot be read."""
    while not hasattr(dataset, 'get_data_info'):  # MultiImageMixDataset
        dataset = dataset.dataset
    item = dataset.get_data_info(index)
    path = item['img_path']
    try:
        view = View(read_rgb(path))
    except OSError:
        return path, None
    height, width = view.image.shape[:2]
    for record in item.get('instances', ()):
        view.instances.append(
            Instance(
                record['bbox_label'],
                _xywh(record['bbox']),
                mask_of(record.get('mask'), width, height),
                crowd=bool(record.get('ignore_flag')),
            )
        )
    if 'gt_label' in item:
        view.label = _label(item['gt_label'], names)
    if item.get('seg_map_path') and 'seg_fields' in item:
        view.instances += regions(labels_of(dataset, item), names)
    return path, view


def _unreadable(path: str) -> Cell:
    grey = np.full((TILE // 2, TILE, 3), 96, np.uint8)
    return Cell([grey], [UNREADABLE], Path(path).name)


def _label(value, names: list[str]) -> str:
    numbers = np.atleast_1d(np.asarray(value)).tolist()
    return ', '.join(names[n] if n < len(names) else str(n) for n in numbers)


def trained_view(item: dict, names: list[str]) -> View:
    """The output of a pipeline, drawn from the tensors that the model gets."""
    inputs = item['inputs']
    inputs = inputs[0] if isinstance(inputs, list | tuple) else inputs
    array = inputs.permute(1, 2, 0).numpy()
    if array.dtype != np.uint8:
        array = np.clip(array, 0, 255).astype(np.uint8)
    view = View(np.ascontiguousarray(array[..., ::-1]))
    sample = item['data_samples']
    objects = getattr(sample, 'gt_instances', None)
    if objects is not None:
        boxes = getattr(objects.bboxes, 'tensor', objects.bboxes).tolist()
        masks = objects.masks.to_ndarray() if 'masks' in objects else [None] * len(boxes)
        for box, label, mask in zip(boxes, objects.labels.tolist(), masks, strict=True):
            shape = mask_utils.encode(np.asfortranarray(mask)) if mask is not None else None
            view.instances.append(Instance(label, _xywh(box), shape))
    elif 'gt_sem_seg' in sample:
        view.instances += regions(sample.gt_sem_seg.data[0].numpy(), names)
    elif 'gt_label' in sample:
        view.label = _label(sample.gt_label.numpy(), names)
    return view


def _tile(view: View, names: dict[int, str], colours: dict) -> np.ndarray:
    tile = draw_instances(view.image, view.instances, names, colours, TILE)
    if min(tile.shape[:2]) >= TILE // 2:
        return tile
    # Long, thin images would be too small to see; the longer side is limited.
    image = Image.fromarray(tile)
    factor = max(1, min(TILE // 2 / min(image.size), LONGEST / max(image.size)))
    return np.asarray(image.resize([round(side * factor) for side in image.size], 0))


def cells(dataset, num: int, variants: int, seed: int) -> Iterator[tuple[Cell, list[Instance]]]:
    """One cell per image: its labels, and ``variants`` outputs of the pipeline."""
    classes = list(dataset.metainfo.get('classes') or ())
    names = dict(enumerate(classes))
    colours = class_colours([dict(id=i) for i in names])
    set_random_seed(seed)
    for index in choose_images(list(range(len(dataset))), num, seed or None):
        path, view = raw_view(dataset, index, classes)
        if view is None:
            yield _unreadable(path), []
            continue
        views = [view, *(trained_view(dataset[index], classes) for _ in range(variants))]
        captions = ['labels', *(['as trained on'] * variants)]
        if view.instances or not view.label:
            captions = [f'{c} ({len(v.instances)})' for c, v in zip(captions, views, strict=True)]
        else:
            captions = [v.label for v in views]
        tiles = [_tile(v, names, colours) for v in views]
        yield Cell(tiles, captions, Path(path).name), [i for v in views for i in v.instances]


def legend(dataset, instances: list[Instance]) -> list[tuple]:
    """(class, colour) of the classes that are shown."""
    classes = list(dataset.metainfo.get('classes') or ())
    colours = class_colours([dict(id=i) for i in range(len(classes))])
    used = {item.category_id for item in instances}
    return [(name, colours[i]) for i, name in enumerate(classes) if i in used]


def _jpeg(tile: np.ndarray) -> str:
    data = io.BytesIO()
    Image.fromarray(tile).save(data, 'JPEG', quality=JPEG_QUALITY)
    return base64.b64encode(data.getvalue()).decode()


def page(title: str, note: str, shown: list[Cell], key: list[tuple]) -> str:
    """The sheet as one HTML page that needs no network."""
    rows = []
    for cell in shown:
        figures = ''.join(
            f'<figure><img src="data:image/jpeg;base64,{_jpeg(tile)}" alt="">'
            f'<figcaption>{html.escape(caption)}</figcaption></figure>'
            for tile, caption in zip(cell.tiles, cell.captions, strict=True)
        )
        rows.append(f'<section><h2>{html.escape(cell.foot)}</h2>{figures}</section>')
    swatches = ''.join(
        f'<li><i style="background:rgb{colour}"></i>{html.escape(name)}</li>'
        for name, colour in key
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{html.escape(title)}</title><style>{STYLE}</style>'
        f'<h1>{html.escape(title)}</h1><p>{html.escape(note)}</p><ul>{swatches}</ul>'
        f'<main>{"".join(rows)}</main></html>\n'
    )


STYLE = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 1.5rem; } h1 { font-size: 1.4rem; }
h2 { font-size: .9rem; font-weight: 500; margin: 0 0 .4rem; overflow-wrap: anywhere; }
ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1rem; }
li i { display: inline-block; width: .9em; height: .9em; border-radius: 3px; margin-right: .4em; }
main { display: flex; flex-wrap: wrap; gap: 1.2rem; }
section { border: 1px solid #8884; border-radius: 8px; padding: .7rem; max-width: 100%; }
figure { display: inline-block; margin: 0 .6rem 0 0; } img { max-width: 100%; height: auto; }
figcaption { font-size: .85rem; opacity: .8; }
"""


def browse(
    cfg: Config,
    out: str | os.PathLike,
    title: str,
    split: str = 'train',
    num: int = 12,
    variants: int = 1,
    seed: int = 0,
) -> tuple[Path, Path]:
    """Write a sheet (PNG) and a page (HTML) of images before and after augmentation.

    Args:
        cfg: a config with data sets.
        out: the .png; the page has its name with .html.
        title: of both.
        split: train, val or test.
        num: images, spread over the data set.
        variants: how often each image is augmented.
        seed: of the choice of images (0: the middle of equal parts) and of the augmentation.

    Raises:
        UserError: for a missing split, images none of which can be read, or a full disk.
    """
    out = Path(out)
    dataset = build_dataset(cfg, split)
    shown, instances = [], []
    for cell, items in cells(dataset, num, variants, seed):
        shown.append(cell)
        instances += items
    key = legend(dataset, instances)
    number = counted(len(shown), 'image')
    note = f'{number} of the {split} split; left: the labels, right: as trained on'
    if bad := [cell.foot for cell in shown if cell.captions == [UNREADABLE]]:
        if len(bad) == len(shown):
            raise UserError(f'none of the {number} can be read ({preview(bad)})')
        note += f'; {UNREADABLE}: {preview(bad)}'
    save_sheet(compose(title, note, shown, key), out)
    target = write_text(out.with_suffix('.html'), page(title, note, shown, key))
    return out, target
