"""Which data sets a config has, its classes, heads and evaluators, and the quick form."""

import json

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from selnext_mm.config.load import load_config, set_data_root
from selnext_mm.datasets.check.config import (
    check_config,
    check_dataset,
    class_names,
    dataset_class,
    stop_on_bad_data,
)
from selnext_mm.errors import UserError
from tests.datasets.check.coco_samples import CLASSES, sound
from tests.datasets.check.test_folders import make

CONFIG = 'mask_rcnn/selnext_atto_shapes.py'
HEADS = {f'model.roi_head.{h}.num_classes': 3 for h in ('bbox_head', 'mask_head')}


@pytest.fixture
def coco(tmp_path):
    """A sound data set in the layout of COCO; the content, and a function that writes it."""
    root = tmp_path / 'coco'
    (root / 'annotations').mkdir(parents=True)
    for split in ('train', 'val'):
        (root / f'{split}2017').mkdir()
        for i in (1, 2, 3):
            (root / f'{split}2017' / f'{i}.jpg').touch()

    def write(content, split='train'):
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.write_text(json.dumps(content))

    write(sound())
    write(sound(), 'val')
    return root, write


def config(root, classes=CLASSES, **options):
    loaders = {
        f'{s}_dataloader.dataset.metainfo.classes': classes for s in ('train', 'val', 'test')
    }
    cfg = load_config(CONFIG, {**HEADS, **loaders, **options})
    set_data_root(cfg, root)
    return cfg


def errors(reports):
    return {(r.name, f.check) for r in reports for f in r.errors}


def test_a_sound_config_has_no_errors_and_each_file_is_read_once(coco):
    reports = check_config(config(coco[0]))
    assert errors(reports) == set()
    assert [r.name for r in reports] == ['train_dataloader', 'val_dataloader']
    assert all(r.used == 6 for r in reports)


def test_the_quick_form_lets_it_pass_and_tells_the_counts(coco):
    lines = stop_on_bad_data(config(coco[0]), ('train_dataloader', 'val_dataloader'))
    assert lines[0] == 'train_dataloader: 3 images, 6 of 6 annotations used'


def test_a_mistyped_class_stops_a_run(coco):
    with pytest.raises(UserError) as caught:
        stop_on_bad_data(config(coco[0], ('cat', 'dgo', 'traffic light')), ('train_dataloader',))
    message = str(caught.value)
    for words in ('instances_train2017.json', "'dgo' (did you mean 'dog'?)", '--skip-data-check'):
        assert words in message


def test_another_number_of_classes_in_the_heads_stops_a_run(coco):
    options = {'model.roi_head.bbox_head.num_classes': 80}
    reports = check_config(config(coco[0], **options))
    assert ('train_dataloader', 'num_classes') in errors(reports)
    (finding,) = [f for f in reports[0].errors if f.check == 'num_classes']
    assert 'model.roi_head.bbox_head.num_classes=3' in finding.remedy


def test_the_heads_of_a_cascade_are_all_looked_at(coco):
    cfg = load_config('cascade_mask_rcnn/selnext_atto_shapes.py')
    set_data_root(cfg, coco[0])
    report = check_dataset(cfg, 'train_dataloader', cfg.train_dataloader.dataset)
    assert 'num_classes' not in {f.check for f in report.errors}
    cfg.model.roi_head.bbox_head[2].num_classes = 7
    report = check_dataset(cfg, 'train_dataloader', cfg.train_dataloader.dataset)
    (finding,) = [f for f in report.errors if f.check == 'num_classes']
    assert 'model.roi_head.bbox_head.2.num_classes is 7' in finding.text


def test_boxes_without_masks_stop_a_mask_model_only(coco):
    root, write = coco
    content = sound()
    for a in content['annotations']:
        a['segmentation'] = []
    write(content)
    cfg = config(root)
    assert ('train_dataloader', 'masks') in errors(check_config(cfg))
    for transform in cfg.train_dataloader.dataset.pipeline:
        transform.pop('with_mask', None)
    assert errors(check_config(cfg, ('train_dataloader',))) == set()


def test_an_evaluator_of_another_file_is_told(coco):
    cfg = config(coco[0])
    cfg.val_evaluator = dict(cfg.val_evaluator, ann_file=str(coco[0] / 'annotations' / 'x.json'))
    reports = check_config(cfg)
    assert ('val_dataloader', 'evaluator') in errors(reports)


def test_missing_images_stop_a_run(coco):
    (coco[0] / 'train2017' / '2.jpg').unlink()
    with pytest.raises(UserError, match=r'1 of 3 images are missing .*2\.jpg'):
        stop_on_bad_data(config(coco[0]), ('train_dataloader',))


def test_wrapped_data_sets_are_checked(coco):
    cfg = config(coco[0])
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset
    )
    assert len(check_config(cfg, ('train_dataloader',))) == 1


def test_a_mistyped_data_set_names_the_near_one(coco):
    cfg = config(coco[0])
    with pytest.raises(UserError, match=r"no dataset type 'CocoDatset'.*did you mean CocoDataset"):
        dataset_class(cfg, dict(type='CocoDatset'))


class Kind:
    METAINFO = dict(classes=('a', 'b'))


def test_where_class_names_come_from(tmp_path):
    (tmp_path / 'names.txt').write_text('x\ny\n')
    for metainfo, expected in (
        (None, ('a', 'b')),
        (dict(palette=[]), ('a', 'b')),
        (dict(classes=['c']), ('c',)),
        (dict(classes=str(tmp_path / 'names.txt')), ('x', 'y')),
    ):
        assert class_names(Kind, dict(metainfo=metainfo)) == expected


@pytest.mark.parametrize(
    ('encoding', 'words'), [('utf-8-sig', 'byte order mark'), ('utf-16', 'but in UTF-16')]
)
def test_a_file_of_names_in_another_encoding(tmp_path, encoding, words):
    """It would be a traceback, or an unseen character before the first name."""
    file = tmp_path / 'names.txt'
    file.write_text('cat\ndog\n', encoding=encoding)
    with pytest.raises(UserError, match=f'metainfo.classes: {file}.*{words}.* save it as UTF-8'):
        class_names(Kind, dict(metainfo=dict(classes=str(file))))


@pytest.mark.parametrize(
    ('classes', 'words'),
    [('cat', 'with a comma'), (3, 'expected a list'), (['a', 1], 'expected a list')],
)
def test_class_names_that_are_none_are_told(classes, words):
    with pytest.raises(UserError, match=words):
        class_names(Kind, dict(metainfo=dict(classes=classes)))


def classifier(root, count, **options):
    counts = {'model.head.num_classes': count, 'data_preprocessor.num_classes': count}
    cfg = load_config('cls/selnext_t_in1k.py', {**counts, **options})
    set_data_root(cfg, root)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.metainfo = dict(classes=['cat', 'dog'])
    return cfg


def test_a_classifiers_folders(tmp_path):
    make(tmp_path / 'train', cat=2, dog=1)
    make(tmp_path / 'val', cat=1, dog=1)
    reports = check_config(classifier(tmp_path, 2))
    assert errors(reports) == set()
    assert [r.images for r in reports] == [3, 2]
    wrong = check_config(classifier(tmp_path, 1000))
    assert ('train_dataloader', 'num_classes') in errors(wrong)


def test_a_class_missing_in_the_validation_folder_is_told(tmp_path):
    make(tmp_path / 'train', cat=2, dog=1)
    make(tmp_path / 'val', dog=1, owl=1)
    reports = check_config(classifier(tmp_path, 2))
    assert errors(reports) == {('val_dataloader', 'classes'), ('val_dataloader', 'order')}


def test_a_list_beside_the_folders_is_used_as_mmpretrain_does(tmp_path):
    make(tmp_path / 'train', cat=2, dog=1)
    make(tmp_path / 'val', cat=1)
    (tmp_path / 'meta').mkdir()
    (tmp_path / 'meta' / 'val.txt').write_text('cat/sub/0.JPEG 0\n')
    reports = check_config(classifier(tmp_path, 2))
    assert errors(reports) == set()
    assert reports[1].source.endswith('meta/val.txt')


def test_data_sets_without_rules_are_left_alone():
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='X'),
            train_dataloader=dict(dataset=dict(type='CIFAR100', data_root='data')),
        )
    )
    assert check_config(cfg) == []
    cfg.train_dataloader.dataset.data_root = 's3://bucket/data'
    assert check_config(cfg) == []


@pytest.mark.realdata
def test_real_coco_passes_the_quick_form(coco_root):
    cfg = load_config('mask_rcnn/selnext_t_3x_coco.py')
    set_data_root(cfg, coco_root)
    lines = stop_on_bad_data(cfg, ('train_dataloader', 'val_dataloader'))
    assert 'train_dataloader: 96 images' in lines[0] or 'images' in lines[0]


@pytest.mark.parametrize('kind', ['CustomDataset', 'ImageNet'])
@pytest.mark.parametrize('own', [None, ('.webp',)])
def test_images_are_counted_by_the_suffixes_that_the_data_set_reads(tmp_path, kind, own):
    """Twelve of sixteen images were counted as used, and left out of the training."""
    registry = pytest.importorskip('mmpretrain.registry')
    for name in ('a', 'b'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        for suffix in ('jpg', 'webp', 'tiff', 'jfif'):
            (tmp_path / 'train' / name / f'1.{suffix}').touch()
    dataset = dict(type=kind, data_root=str(tmp_path), data_prefix='train', pipeline=[])
    dataset |= dict(metainfo=dict(classes=('a', 'b')), **(dict(extensions=own) if own else {}))
    cfg = Config(
        dict(
            default_scope='mmpretrain',
            model=dict(head=dict(num_classes=2)),
            train_dataloader=dict(dataset=dataset),
        )
    )
    (report,) = check_config(cfg, ('train_dataloader',))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        assert report.used == len(registry.DATASETS.build(dict(dataset))) == 2
    assert [f.check for f in report.findings if f.level == 'warn'] == ['suffixes']
