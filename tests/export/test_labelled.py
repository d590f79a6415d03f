"""Images for int8 files and checks: of a data set in any format, or of the config's own sets."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from selnext_mm.errors import UserError
from selnext_mm.export import labelled
from selnext_mm.export.int8_models import calibration_images
from selnext_mm.export.options import ExportOptions, check_options
from selnext_mm.inference.images import list_images
from tests.datasets.formats.writers import SMALL, picture, write_coco2017, write_roboflow, write_voc

pytest.importorskip('onnx')


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'cache'))


@pytest.fixture
def add(tmp_path):
    """Call ``add_labelled_images``; give (options, what it said)."""

    def call(cfg=None, int8=True, part='detector', classes=('ape', 'cat', 'dog'), **more):
        said = []
        options = ExportOptions(
            'c.py', 'c.pth', tmp_path / 'd.onnx', int8=int8, say=said.append, **more
        )
        check_options(options)
        loaded = SimpleNamespace(cfg=Config(cfg or {}), classes=classes, model=None)
        labelled.add_labelled_images(options, loaded, part)
        return options, said

    return call


def names(images):
    return [image.name for image in list_images(images)]


TRAIN, VAL = ([i['file_name'] for i in SMALL[split]['images']] for split in ('train', 'val'))


@pytest.mark.parametrize('write', [write_coco2017, write_roboflow, write_voc])
def test_a_data_set_gives_images_and_labels(write, add, tmp_path):
    if write is write_voc:
        pytest.importorskip('defusedxml')
    write(SMALL, tmp_path / 'd')
    options, said = add(data=tmp_path / 'd')
    assert [n.rpartition('/')[2] for n in names(options.calibrate)] == TRAIN
    assert [n.rpartition('/')[2] for n in names(options.check_images)] == VAL
    content = json.loads(Path(options.check_ann).read_text())
    assert [i['file_name'] for i in content['images']] == names(options.check_images)
    assert all(image.path.is_file() for image in list_images(options.check_images))
    assert said[1:] == [
        f'calibrating on images of the train split of {tmp_path / "d"}',
        f'measuring on 2 images of the val split of {tmp_path / "d"}',
    ]


def test_a_float_file_is_checked_on_the_test_split(add, tmp_path):
    described = SMALL | dict(test=SMALL['val'])
    write_coco2017(described, tmp_path / 'd')
    options, said = add(int8=False, data=tmp_path / 'd')
    assert options.calibrate is None
    assert all('/test2017/' in str(image.path) for image in options.check_images)
    assert said[-1] == f'checking on 2 images of the test split of {tmp_path / "d"}'


def test_class_folders_are_named_by_their_classes(add, tmp_path):
    for split in ('train', 'val'):
        for kind in ('owl', 'ant'):
            folder = tmp_path / 'd' / split / kind
            folder.mkdir(parents=True)
            picture(seed=len(split + kind)).save(folder / f'a {split}.png')
    options, _ = add(data=tmp_path / 'd', part='classifier', classes=('ant', 'owl', 'yak'))
    assert names(options.calibrate) == ['ant/a train.png', 'owl/a train.png']
    assert names(options.check_images) == ['ant/a val.png', 'owl/a val.png']
    assert options.check_ann is None


def coco(root, split, **more):
    return dict(
        dataset=dict(
            type='CocoDataset',
            data_root=str(root),
            ann_file=f'annotations/instances_{split}2017.json',
            data_prefix=dict(img=f'{split}2017/'),
            metainfo=dict(classes=('ape', 'cat', 'dog')),
            pipeline=[dict(type='NotThere')],
            **more,
        )
    )


def test_the_config_names_its_own_images(add, tmp_path):
    write_coco2017(SMALL, tmp_path / 'd')
    cfg = dict(
        default_scope='mmdet',
        train_dataloader=dict(dataset=dict(type='RepeatDataset', **coco(tmp_path / 'd', 'train'))),
        test_dataloader=coco(tmp_path / 'd', 'val', test_mode=True),
    )
    options, said = add(cfg)
    assert names(options.calibrate) == TRAIN
    assert names(options.check_images) == VAL
    assert options.check_ann == str(tmp_path / 'd/annotations/instances_val2017.json')
    assert said == [
        'calibrating on images of train_dataloader of c.py',
        'measuring on 2 images of test_dataloader of c.py',
    ]
    shutil.rmtree(tmp_path / 'd' / 'annotations')
    with pytest.raises(UserError, match=r'those of train_dataloader of c.py cannot .* --data DIR'):
        add(cfg)
    with pytest.raises(UserError, match=r'c.py has no train_dataloader; give --data DIR, or'):
        add()


def test_a_classifier_names_its_own_images(add, tmp_path):
    for kind in ('owl', 'ant'):
        (tmp_path / 'd' / kind).mkdir(parents=True)
        picture().save(tmp_path / 'd' / kind / '1.png')
    node = dict(type='CustomDataset', data_prefix=str(tmp_path / 'd'), pipeline=[])
    loader = dict(dataset=node)
    cfg = dict(default_scope='mmpretrain', train_dataloader=loader, val_dataloader=loader)
    options, said = add(cfg)
    assert names(options.check_images) == ['ant/1.png', 'owl/1.png']
    assert options.check_ann is None
    assert said[-1] == 'measuring on 2 images of val_dataloader of c.py'


def test_images_that_are_no_files_are_refused(add, monkeypatch):
    """CIFAR-10 in mmpretrain keeps them in one array."""

    class Arrays:
        def __len__(self):
            return 1

        def get_data_info(self, index):
            return dict(img=index, gt_label=1)

    monkeypatch.setattr(labelled.DATASETS, 'build', lambda node: Arrays())
    with pytest.raises(UserError, match=r'train_dataloader of c.py has none; give --data DIR'):
        add(dict(train_dataloader=dict(dataset=dict(type='CIFAR10'))))


@pytest.mark.parametrize('name', ['calibrate', 'check_images', 'check_ann'])
def test_two_sources_of_images_are_refused(name, add):
    with pytest.raises(UserError, match=f'--data d and --{name.replace("_", "-")} both name'):
        add(data='d', **{name: 'x'})


def test_given_images_are_left_alone(add, tmp_path):
    options, said = add(calibrate='a', check_images='b', check_ann='c')
    assert (options.calibrate, options.check_images, options.check_ann) == (['a'], ['b'], 'c')
    options, _ = add(int8=False)
    assert (options.check_images, said) == (None, [])


@pytest.mark.parametrize(
    ('part', 'classes', 'text'),
    [
        ('classifier', ('ape',), 'd has boxes; this classifier needs a folder per class'),
        ('detector', ('ape', 'owl'), 'd has the classes ape, cat, dog, the model ape, owl; what'),
    ],
)
def test_labels_for_another_model_are_refused(part, classes, text, add, tmp_path):
    write_coco2017(SMALL, tmp_path / 'd')
    with pytest.raises(UserError, match=text):
        add(data=tmp_path / 'd', part=part, classes=classes)


def test_class_folders_are_not_for_a_detector(add, tmp_path):
    """The AP was silently not compared."""
    for split, kind in (('train', 'a'), ('train', 'b'), ('val', 'a'), ('val', 'b')):
        (tmp_path / 'd' / split / kind).mkdir(parents=True)
        picture(seed=len(split + kind)).save(tmp_path / 'd' / split / kind / '1.png')
    with pytest.raises(UserError, match='d has class folders; this detector needs boxes or masks'):
        add(data=tmp_path / 'd', int8=False)


def test_errors_name_the_split_in_place_of_an_option(add, tmp_path):
    write_coco2017(SMALL, tmp_path / 'd')
    options, _ = add(data=tmp_path / 'd')
    assert options.name_of('calibrate') == f'the train split of {tmp_path / "d"}'
    shutil.copy(tmp_path / 'd/train2017' / TRAIN[0], tmp_path / 'd/val2017' / VAL[0])
    with pytest.raises(
        UserError, match=r'1 image is in the train split of \S+ and in the val split'
    ):
        calibration_images(options)


def test_two_hundred_images_are_spread_over_all(add, tmp_path):
    for number in range(201):
        picture(8, 8, seed=number).save(tmp_path / f'{number:03}.png')
    (tmp_path / 'other').mkdir()
    picture(9, 9).save(tmp_path / 'other' / 'o.png')
    options, _ = add(calibrate=str(tmp_path / '*.png'), check_images=str(tmp_path / 'other'))
    found = [int(path.stem) for path in calibration_images(options)]
    assert len(found) == 200
    assert (found[0], found[-1]) == (0, 199)
