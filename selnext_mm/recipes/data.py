"""Pipelines, loaders and evaluators of a recipe, for detected labels."""

from typing import Any

from selnext_mm.datasets.formats.records import CLASSIFICATION, DatasetInfo
from selnext_mm.engine.safe_defaults import CLASSES

META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
ZOOM = (0.75, 1.25)  # scale range of the training images, relative to their size
MULTI_SCALE = (0.5, 1.5)  # the same with --multi-scale
PAD = 114.0  # grey value for what Mosaic and MixUp leave empty, as in YOLOX


def _detector_pipelines(size: int, masks: bool, zoom: tuple, polygons: bool) -> tuple[list, list]:
    """(of training, of the others); ``polygons``: masks are resized as polygons."""
    scale = (size, size)
    labels = dict(type='LoadAnnotations', with_bbox=True, with_mask=masks)
    train = [
        dict(type='LoadImageFromFile', backend_args=None),
        dict(labels, poly2mask=False) if polygons else labels,
        dict(type='RandomFlip', prob=0.5),
        dict(type='RandomResize', scale=scale, ratio_range=zoom, keep_ratio=True),
        *([dict(type='PolygonsToBitmaps')] if polygons else []),
        dict(type='PackDetInputs'),
    ]
    test = [
        dict(type='LoadImageFromFile', backend_args=None),
        dict(type='Resize', scale=scale, keep_ratio=True),
        labels,
        dict(type='PackDetInputs', meta_keys=META),
    ]
    return train, test


def _classifier_pipelines(size: int) -> tuple[list, list]:
    train = [
        dict(type='LoadImageFromFile'),
        dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.35, 1.0)),
        dict(type='RandomFlip', prob=0.5, direction='horizontal'),
        dict(type='ColorJitter', brightness=0.2, contrast=0.2, saturation=0.2),
        dict(type='PackInputs'),
    ]
    test = [
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=round(size / 0.875), edge='short'),
        dict(type='CenterCrop', crop_size=size),
        dict(type='PackInputs'),
    ]
    return train, test


def mixed_dataset(dataset: dict, size: int) -> dict:
    """A detector's training set: ``dataset`` with Mosaic and MixUp, with YOLOX's values.

    Four images are combined into one of twice ``size``, which is shifted, scaled by 0.5 to 1.5 and
    cropped to ``size``; another image is blended in at half strength. The rest of the pipeline
    follows.
    """
    load, rest = dataset['pipeline'][:2], dataset['pipeline'][2:]
    scale = (size, size)
    mixing = [
        dict(type='Mosaic', img_scale=scale, pad_val=PAD),
        dict(
            type='RandomAffine',
            scaling_ratio_range=(0.5, 1.5),
            border=(-size // 2, -size // 2),
        ),
        dict(type='MixUp', img_scale=scale, ratio_range=(0.8, 1.6), pad_val=PAD),
    ]
    small = dict(type='FilterAnnotations', min_gt_bbox_wh=(2, 2), keep_empty=False)
    return dict(
        type='MultiImageMixDataset',
        dataset=dict(dataset, pipeline=load),
        pipeline=[*mixing, *rest[:-1], small, rest[-1]],
    )


def data_config(
    info: DatasetInfo,
    size: int,
    batch: int,
    workers: int,
    masks: bool,
    multi_scale: bool = False,
    mix: bool = False,
) -> dict:
    """Loaders and evaluators of train, val and test; without a test split val replaces it.

    Args:
        info: the labels.
        size: of the images in pixels, see :class:`~selnext_mm.recipes.options.Options`.
        batch: images per update.
        workers: processes per loader.
        masks: whether masks are learnt.
        multi_scale: resize a detector's training images to a wider range of sizes.
        mix: combine several images into one for a detector's training.
    """
    classify = info.task == CLASSIFICATION
    zoom = MULTI_SCALE if multi_scale else ZOOM
    # Mosaic and MixUp combine bitmaps.
    polygons = masks and not mix and info.splits['train'].polygons
    train, test = (
        _classifier_pipelines(size)
        if classify
        else _detector_pipelines(size, masks, zoom, polygons)
    )
    common = dict(num_workers=workers, persistent_workers=workers > 0)

    def dataset(split: str) -> dict:
        # Other tools expect a data_root, but all paths here are absolute.
        fields: dict[str, Any] = {} if classify else dict(data_root='', backend_args=None)
        if split == 'train' and not classify:
            fields['filter_cfg'] = dict(filter_empty_gt=False, min_size=8)
        pipeline = train if split == 'train' else test
        return info.dataset_config(split, pipeline=pipeline, **fields)

    def evaluator(split: str) -> dict:
        if classify:
            return dict(type='Accuracy', topk=(1,))
        kinds = ['bbox', 'segm'] if masks else 'bbox'
        return dict(
            type='CocoMetric',
            ann_file=str(info.splits[split].annotations),
            metric=kinds,
            format_only=False,
        )

    last = 'test' if 'test' in info.splits else 'val'
    cfg = dict(
        train_dataloader=dict(
            batch_size=batch,
            **common,
            drop_last=False,
            sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dataset('train'),
        )
    )
    if mix and not classify:
        loader: dict[str, Any] = cfg['train_dataloader']
        loader['dataset'] = mixed_dataset(loader['dataset'], size)
        loader['persistent_workers'] = False  # UnmixedImagesHook changes the data set
    if not classify:
        cfg['train_dataloader']['batch_sampler'] = dict(type='AspectRatioBatchSampler')
    elif info.splits['train'].images > batch:
        cfg['train_dataloader']['drop_last'] = True  # batch norm fails on a batch of one
    for name, split in (('val', 'val'), ('test', last)):
        cfg[f'{name}_dataloader'] = dict(
            batch_size=batch if classify else 1,
            **common,
            drop_last=False,
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset(split),
        )
        cfg[f'{name}_evaluator'] = evaluator(split)
    if not classify and len(info.classes) <= CLASSES:
        # Of the test they are in its file, without it, too.
        cfg['val_evaluator']['classwise'] = True
    return cfg
