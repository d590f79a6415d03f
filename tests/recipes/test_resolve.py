"""Labels and options to configs that stand by themselves."""

import dataclasses

import pytest

from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config.walk import iter_datasets
from selnext_mm.datasets.formats import find_dataset
from selnext_mm.errors import UserError
from selnext_mm.recipes import Options, resolve
from selnext_mm.recipes.resolve import write_config
from tests.datasets.formats.writers import SMALL, write_voc

pytest.importorskip('mmdet', reason='needs mmdet')
pytest.importorskip('mmpretrain', reason='needs mmpretrain')


@pytest.mark.parametrize(
    ('labels', 'model', 'kind', 'metric'),
    [
        ('boxes', None, 'CascadeRCNN', 'coco/bbox_mAP'),
        ('boxes', 'retinanet/resnet18', 'RetinaNet', 'coco/bbox_mAP'),
        ('boxes', 'faster_rcnn/selnext_atto', 'FasterRCNN', 'coco/bbox_mAP'),
        ('masks', 'selnext_atto', 'MaskRCNN', 'coco/segm_mAP'),
        ('masks', 'cascade_mask_rcnn/convnext_atto', 'CascadeRCNN', 'coco/segm_mAP'),
        ('masks', 'faster_rcnn/patnet_t0', 'FasterRCNN', 'coco/bbox_mAP'),
        ('folders', None, 'ImageClassifier', 'accuracy/top1'),
    ],
)
def test_the_config_reads_back_and_builds(labels, model, kind, metric, request, tmp_path):
    info = request.getfixturevalue(labels)
    cfg, lines = resolve(info, model, Options(image_size=64))
    again = load_config(write_config(cfg, lines, tmp_path / 'run', 'a test'))
    assert again.model.type == kind
    assert again.default_hooks.checkpoint.save_best == metric
    assert again.work_dir == str(tmp_path / 'run')
    assert {tuple(d.metainfo.classes) for _, d in iter_datasets(again)} == {info.classes}
    text = str(again.model)
    assert f"'num_classes': {len(info.classes)}" in text
    assert "'num_classes': 80" not in text
    built = build_model(again)
    assert all(p.requires_grad for p in built.parameters())
    head = (tmp_path / 'run' / 'config.py').read_text()
    assert head.startswith('# Written by: a test\n')
    assert all(f'# {line}\n' in head for line in lines)


def test_every_choice_is_told_and_what_is_given_is_not(boxes):
    _, lines = resolve(boxes, None, Options())
    for option in ('--batch-size', '--image-size', '--epochs', '--lr', '--patience', '--workers'):
        assert any(option in line for line in lines), option
    given = Options(
        epochs=3, batch_size=4, lr=2e-3, image_size=96, workers=0, seed=7, patience=2
    )  # fmt: skip
    cfg, lines = resolve(boxes, 'selnext_atto', given)
    assert not any('(--' in line for line in lines)
    assert cfg.train_cfg.max_epochs == 3
    assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 4
    assert cfg.optim_wrapper.optimizer.lr == 2e-3
    assert cfg.train_dataloader.num_workers == 0
    assert cfg.randomness.seed == 7
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (96, 96)


def test_without_a_test_split_val_stands_for_it(boxes, masks):
    for info, split in ((boxes, 'test' if 'test' in boxes.splits else 'val'), (masks, 'val')):
        cfg, _ = resolve(info, 'selnext_atto', Options())
        assert cfg.test_evaluator.ann_file == str(info.splits[split].annotations)
        assert cfg.val_evaluator.ann_file == str(info.splits['val'].annotations)


def test_ap_of_each_class_is_evaluated_up_to_a_hundred(boxes, folders):
    cfg, _ = resolve(boxes, 'selnext_atto', Options())
    assert cfg.val_evaluator.classwise
    # The test writes them into its file; its metrics are few and without a NaN.
    assert not cfg.test_evaluator.get('classwise')
    many = dataclasses.replace(boxes, classes=tuple(f'class {n}' for n in range(101)))
    cfg, _ = resolve(many, 'selnext_atto', Options())
    assert not cfg.val_evaluator.get('classwise')
    cfg, _ = resolve(folders, 'selnext_atto', Options())
    assert 'classwise' not in cfg.val_evaluator


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        (dict(epochs=0), '--epochs 0; expected 1 or more'),
        (dict(batch_size=-1), '--batch-size -1'),
        (dict(image_size=8), '--image-size 8; expected 32'),
        (dict(lr=5.0), '--lr 5'),
        (dict(weights='gone.pth'), 'gone.pth: no such file'),
    ],
)
def test_options_out_of_range(boxes, values, words):
    with pytest.raises(UserError, match=words):
        resolve(boxes, 'selnext_atto', Options(**values))


def test_the_config_names_folders_from_the_root(tmp_path, monkeypatch):
    """So that it is the same run from any working directory."""
    write_voc(SMALL, tmp_path / 'boxes')
    (tmp_path / 'below').mkdir()
    monkeypatch.chdir(tmp_path / 'below')
    cfg, _ = resolve(find_dataset('../boxes'), 'resnet18', Options(image_size=64))
    images = cfg.train_dataloader.dataset.data_prefix.img
    assert images == str(tmp_path / 'boxes' / 'JPEGImages')


def test_weights_of_a_backbone_and_of_a_detector(boxes, tmp_path):
    import torch

    for key, place, kind in (
        ('backbone.x', 'backbone', 'CascadeRCNN'),
        ('roi_head.bbox_head.x', 'all', 'FasterRCNN'),  # not the default: it would not fit
    ):
        path = tmp_path / f'{place}.pth'
        torch.save(dict(state_dict={key: torch.ones(1)}), path)
        cfg, lines = resolve(boxes, 'selnext_atto', Options(weights=str(path)))
        assert cfg.model.type == kind
        assert cfg.load_from == (str(path) if place == 'all' else None)
        init = cfg.model.backbone.get('init_cfg')
        assert (init.checkpoint if init else None) == (str(path) if place != 'all' else None)
        assert any(line.startswith('fine-tuning recipe') for line in lines)
        assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == 0.9
