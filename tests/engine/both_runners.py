"""A tiny detector and classifier, and how to run a config with mmengine's runner and with ours."""

import copy
import math

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from selnext_mm import Session

SHAPES = ('circle', 'square', 'triangle', 'star', 'ring', 'cross')
RESIZE = dict(type='Resize', scale=(64, 64), keep_ratio=True)
META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
PACK = dict(type='PackDetInputs', meta_keys=META)
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True)]
TRAIN = [*LOAD, RESIZE, dict(type='RandomFlip', prob=0.5), PACK]
TEST = [LOAD[0], RESIZE, LOAD[1], PACK]
BACKBONE = dict(
    type='SELNeXt',
    arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, 16]),
    out_indices=(1, 2, 3),
)


def loader(dataset, batch_size=2, shuffle=False):
    return dict(
        batch_size=batch_size,
        num_workers=0,
        persistent_workers=False,
        sampler=dict(type='DefaultSampler', shuffle=shuffle),
        dataset=dataset,
    )


def common():
    """What both tasks share: one epoch and one evaluation, on the CPU, with a seed."""
    return dict(
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=1),
        val_cfg=dict(type='ValLoop'),
        test_cfg=dict(type='TestLoop'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3)),
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)),
        randomness=dict(seed=5),
    )


def shapes(root, split, pipeline, images):
    """The first ``images`` of a split; a metric scores the whole file all the same."""
    return dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file=f'annotations/instances_{split}2017.json',
        data_prefix=dict(img=f'{split}2017/'),
        metainfo=dict(classes=SHAPES),
        pipeline=copy.deepcopy(pipeline),
        indices=images,
    )


def detection(root):
    """RetinaNet on four of the shapes; everything it finds counts, so that scores are not 0."""
    val = loader(shapes(root, 'val', TEST, 3))
    metric = dict(
        type='CocoMetric',
        ann_file=f'{root}/annotations/instances_val2017.json',
        metric='bbox',
    )
    neck = dict(in_channels=[8, 16, 16], out_channels=8, num_outs=3)
    anchors = dict(octave_base_scale=4, scales_per_octave=1, ratios=[1.0], strides=[8, 16, 32])
    coder = dict(target_means=[0.0] * 4, target_stds=[1.0] * 4)
    head = dict(
        type='RetinaHead',
        num_classes=len(SHAPES),
        in_channels=8,
        stacked_convs=1,
        feat_channels=8,
        anchor_generator=dict(type='AnchorGenerator', **anchors),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder', **coder),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss'),
    )
    assigner = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4, min_pos_iou=0)
    model = dict(
        type='RetinaNet',
        data_preprocessor=dict(
            type='DetDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32,
        ),
        backbone=BACKBONE,
        neck=dict(type='FPN', **neck),
        bbox_head=head,
        train_cfg=dict(assigner=assigner, allowed_border=-1, pos_weight=-1, debug=False),
        test_cfg=dict(
            nms_pre=100, score_thr=0.0, nms=dict(type='nms', iou_threshold=0.7), max_per_img=100
        ),
    )
    return Config(
        dict(
            **common(),
            default_scope='mmdet',
            model=model,
            train_dataloader=loader(shapes(root, 'train', TRAIN, 4), shuffle=True),
            val_dataloader=val,
            test_dataloader=copy.deepcopy(val),
            val_evaluator=metric,
            test_evaluator=dict(metric),
        )
    )


CLS_LOAD = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(32, 32))]
CLS_TRAIN = [*CLS_LOAD, dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
CLS_TEST = [*CLS_LOAD, dict(type='PackInputs')]


def class_folders(root, split, pipeline):
    return dict(
        type='CustomDataset',
        data_root=str(root),
        data_prefix=split,
        pipeline=copy.deepcopy(pipeline),
    )


def classification(root):
    """A classifier on folders of images, ``root/train`` and ``root/val``."""
    classes = len(list((root / 'train').iterdir()))
    val = loader(class_folders(root, 'val', CLS_TEST), 4)
    model = dict(
        type='ImageClassifier',
        data_preprocessor=dict(
            type='ClsDataPreprocessor',
            num_classes=classes,
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            to_rgb=True,
        ),
        backbone=dict(BACKBONE, out_indices=-1, layer_scale_init_value=1.0),
        head=dict(
            type='LinearClsHead',
            num_classes=classes,
            in_channels=16,
            loss=dict(type='CrossEntropyLoss'),
        ),
    )
    val['collate_fn'] = dict(type='default_collate')
    train = loader(class_folders(root, 'train', CLS_TRAIN), 4, shuffle=True)
    train['collate_fn'] = dict(type='default_collate')
    return Config(
        dict(
            **common(),
            default_scope='mmpretrain',
            model=model,
            train_dataloader=train,
            val_dataloader=val,
            test_dataloader=copy.deepcopy(val),
            val_evaluator=dict(type='Accuracy', topk=(1, 2)),
            test_evaluator=dict(type='Accuracy', topk=(1, 2)),
        )
    )


def run_stock(cfg, work_dir, tta=False):
    """Scalars of a training, and the metrics of a test of its weights, by mmengine's runner."""
    cfg = copy.deepcopy(cfg)
    cfg.work_dir, cfg.experiment_name, cfg.launcher = str(work_dir), str(work_dir), 'none'
    runner = built_by_stock(cfg)
    runner.train()
    path = str(work_dir / 'stock.pth')
    torch.save(dict(state_dict=runner.model.state_dict(), meta=dict()), path)
    scalars = scalars_of(runner)
    if not cfg.get('test_cfg'):
        return scalars, {}
    if tta:
        # As the tools/test.py of mmdet and mmpretrain do it.
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
    cfg.load_from, cfg.experiment_name = path, f'{work_dir}-test'
    return scalars, plain(built_by_stock(cfg).test())


def built_by_stock(cfg):
    """mmengine's runner; own thresholds as the array without which pycocotools fails."""

    class Stock(Runner):
        def build_evaluator(self, evaluator):
            built = super().build_evaluator(evaluator)
            for metric in built.metrics:
                if getattr(metric, 'iou_thrs', None) is not None:
                    metric.iou_thrs = np.asarray(metric.iou_thrs)
            return built

    return Stock.from_cfg(cfg)


def run_ours(cfg, work_dir, tta=False, out=None):
    """The same by a session, which tests its own checkpoint."""
    # mmengine names a run by the second, and keeps the scalars of two of one name together.
    if isinstance(cfg, Config):
        cfg = copy.deepcopy(cfg)
        cfg.experiment_name = str(work_dir)
    session = Session(cfg, work_dir=work_dir)
    path = session.train()
    scalars = scalars_of(session.runner)
    if not session.cfg.get('test_cfg'):
        return scalars, {}
    return scalars, plain(session.test(path, tta=tta, out=out))


def plain(metrics):
    return {key: float(value) for key, value in metrics.items()}


def scalars_of(runner):
    """Name -> values of every loss, learning rate and metric of a run; no times."""
    found = {}
    for name, buffer in runner.message_hub.log_scalars.items():
        if name.split('/')[-1] not in ('time', 'data_time', 'memory'):
            found[name] = [float(value) for value in buffer.data[0]]
    return found


def assert_same(ours, stock):
    """All that the stock runner has, in ours, to the last bit; NaN equals NaN."""
    assert stock.keys() <= ours.keys(), sorted(stock.keys() - ours.keys())
    different = [
        (key, ours[key], stock[key])
        for key in stock
        if not all(
            a == b or (math.isnan(a) and math.isnan(b))
            for a, b in zip(as_list(ours[key]), as_list(stock[key]), strict=True)
        )
    ]
    assert not different, different


def as_list(value):
    return value if isinstance(value, list) else [value]


def same_by_both(cfg, folder):
    """Run ``cfg`` by both and compare all numbers; the stock runner's scalars and metrics."""
    tta = 'tta_model' in cfg
    stock = run_stock(cfg, folder / 'stock', tta)
    ours = run_ours(cfg, folder / 'ours', tta)
    for one, other in zip(ours, stock, strict=True):
        assert_same(one, other)
    assert all(value > 0 for value in stock[0]['train/loss'])
    return stock
