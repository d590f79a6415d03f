"""Labelled images to calibrate and to measure on: of a data set in any format, or of the config."""

import os
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from selnext_mm.config.walk import inner_dataset
from selnext_mm.datasets.coco_api import read_data_as_checked, without_its_prints
from selnext_mm.datasets.coco_content import load_coco
from selnext_mm.datasets.formats.find import find_dataset
from selnext_mm.datasets.formats.records import BOXES, CLASSIFICATION, DatasetInfo
from selnext_mm.errors import UserError
from selnext_mm.export.options import ExportOptions
from selnext_mm.inference.images import ImageFile
from selnext_mm.inference.loading import LoadedModel
from selnext_mm.text import counted, preview

REMEDY = 'give --data DIR, or --calibrate and --check-images'


@dataclass(frozen=True)
class Labelled:
    """The images of a split; ``source`` says which.

    Those of a classifier are named ``class/...``; those of a detector as in the COCO file
    ``annotations``.
    """

    images: list[ImageFile]
    annotations: str | None
    source: str


def _of_folder(info: DatasetInfo, name: str) -> Labelled:
    split = info.splits[name]
    root, source = split.image_root, f'the {name} split of {info.root}'
    if info.task != CLASSIFICATION:
        names = [image['file_name'] for image in load_coco(split.annotations)['images']]
        images = [ImageFile(root / name, name) for name in names]
        return Labelled(images, str(split.annotations), source)
    lines = split.annotations.read_text(encoding='utf-8').splitlines()
    pairs = [line.rsplit(' ', 1) for line in lines]
    images = [
        ImageFile(root / file, f'{info.classes[int(k)]}/{Path(file).name}') for file, k in pairs
    ]
    return Labelled(images, None, source)


def _of_config(cfg: Config, path: str, loader: str) -> Labelled:
    """The images of a loader of ``cfg``, as the runner reads them, without the pipeline.

    Raises:
        UserError: if they are not there, or have no files of their own.
    """
    node = dict(inner_dataset(cfg.get(loader)))
    where = f'{loader} of {path}'
    if not node:
        raise UserError(f'--int8 needs labelled images, and {path} has no {loader}; {REMEDY}')
    read_data_as_checked(cfg.get('default_scope'))
    scope = DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine'))
    try:
        with scope, without_its_prints():
            dataset = DATASETS.build(node | dict(lazy_init=False, pipeline=[]))
            records = [dataset.get_data_info(i) for i in range(len(dataset))]
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, UserError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f'--int8 needs labelled images; those of {where} cannot be read ({text}); {REMEDY}'
        ) from None
    if not records or not all(isinstance(r.get('img_path'), str) for r in records):
        raise UserError(f'--int8 needs labelled image files, and {where} has none; {REMEDY}')
    files = [r['img_path'] for r in records]
    if 'gt_label' in records[0]:
        classes = [dataset.CLASSES[int(r['gt_label'])] for r in records]
        pairs = zip(files, classes, strict=True)
        return Labelled([ImageFile(Path(f), f'{c}/{Path(f).name}') for f, c in pairs], None, where)
    prefix = dataset.data_prefix.get('img') or '.'
    images = [ImageFile(Path(f), Path(os.path.relpath(f, prefix)).as_posix()) for f in files]
    return Labelled(images, dataset.ann_file, where)


def _check_task(options: ExportOptions, info: DatasetInfo, loaded: LoadedModel, part: str) -> None:
    """Raise :class:`UserError` for labels that are not for this model."""
    if (info.task == CLASSIFICATION) != (part != 'detector'):
        has = 'class folders' if info.task == CLASSIFICATION else info.task
        wants = 'boxes or masks' if part == 'detector' else 'a folder per class'
        raise UserError(f'--data {options.data} has {has}; this {part} needs {wants}')
    lacks = [name for name in loaded.classes if name not in info.classes]
    extra = [name for name in info.classes if name not in loaded.classes]
    if lacks if part == 'detector' else extra:
        raise UserError(
            f'--data {options.data} has the classes {preview(info.classes)}, the model '
            f'{preview(loaded.classes)}; what it was trained for has to be labelled'
        )
    if info.task == BOXES and getattr(loaded.model, 'with_mask', False):
        raise UserError(f'--data {options.data} has boxes; this detector needs masks')


def add_labelled_images(options: ExportOptions, loaded: LoadedModel, part: str) -> None:
    """Set ``calibrate``, ``check_images`` and ``check_ann`` where they are to be found.

    With ``data``, training images calibrate, and those of its test split (else val) are measured
    on. An int8 file without any of these options uses the training and test set of its config.

    Raises:
        UserError: if there are no such images.
    """
    given = options.calibrate or options.check_images or options.check_ann
    if options.data:
        info = find_dataset(options.data)
        _check_task(options, info, loaded, part)
        options.say(info.choices[0])
        tested = 'test' if 'test' in info.splits else 'val'
        train, test = (_of_folder(info, name) for name in ('train', tested))
    elif options.int8 and not given:
        cfg = loaded.cfg
        tested = 'test_dataloader' if cfg.get('test_dataloader') else 'val_dataloader'
        train, test = (
            _of_config(cfg, options.config, name) for name in ('train_dataloader', tested)
        )
    else:
        return
    options.check_images, options.check_ann = test.images, test.annotations
    options.sources = dict(calibrate=train.source, check_images=test.source)
    line = f'{counted(len(test.images), "image")} of {test.source}'
    if options.int8:
        options.calibrate = train.images
        options.say(f'calibrating on images of {train.source}')
        options.say(f'measuring on {line}')
    else:
        options.say(f'checking on {line}')
