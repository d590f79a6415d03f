"""Images and label maps of a segmentation data set: what would end a run, or teach it nonsense."""

import numpy as np
import pytest
from PIL import Image

from selnext_mm.config.load import load_config, set_data_root
from selnext_mm.datasets.check.config import check_config, stop_on_bad_data
from selnext_mm.datasets.check.segmentation import LOOKED_AT, check_maps
from selnext_mm.errors import UserError
from tests.mmseg import needs_mmseg

CLASSES = ('background', 'circle', 'square', 'triangle', 'star', 'ring', 'cross')


class SegDataset:
    """The arguments of mmseg's BaseSegDataset."""

    METAINFO: dict = {}

    def __init__(self, img_suffix='.jpg', seg_map_suffix='.png', data_prefix=None, ann_file=''):
        pass


class Reduced(SegDataset):
    """As ADE20KDataset: classes of its own, and labels that begin with 1."""

    METAINFO = dict(classes=('wall', 'sky'))

    def __init__(self, img_suffix='.jpg', seg_map_suffix='.png', reduce_zero_label=True):
        pass


@pytest.fixture
def data(tmp_path):
    """Three images with maps, 8 x 6, of the labels 0, 1 and 2; and a function that writes more."""

    def write(name, labels=(0, 1, 2), size=(8, 6), mode='L'):
        values = np.resize(np.array(labels, np.uint8), size[::-1])
        for folder in ('images', 'maps'):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / 'images' / f'{name}.jpg')
        Image.fromarray(values).convert(mode).save(tmp_path / 'maps' / f'{name}.png')

    for name in ('a', 'b', 'sub/c'):
        write(name)
    return tmp_path, write


def check(root, kind=SegDataset, classes=CLASSES[:3], deep=True, **values):
    prefix = dict(img_path='images', seg_map_path='maps')
    node = dict(data_root=str(root), data_prefix=prefix, **values)
    return check_maps(kind, node, classes, 'train_dataloader', deep)


def only(report):
    (finding,) = report.findings
    assert finding.level == 'error'
    return f'{finding.check}: {finding.sentence()}'


def test_a_sound_set_has_no_findings_and_counts_the_images_of_each_class(data):
    root, write = data
    write('d', (0, 255))  # 255 is ignored
    report = check(root)
    assert report.findings == []
    assert (report.images, report.used) == (4, 4)
    assert report.classes == {'background': [4, 4], 'circle': [3, 3], 'square': [3, 3]}
    assert {p.removeprefix(f'{root}/images/') for p in report.paths} == {
        'a.jpg', 'b.jpg', 'd.jpg', 'sub/c.jpg'
    }  # fmt: skip


def test_labels_beyond_the_classes_are_named(data):
    root, write = data
    write('d', (0, 3, 200))
    text = only(check(root))
    assert 'labels: 1 of 4 maps have labels beyond the 3 classes' in text
    assert 'd.png has 3, 200' in text


def test_labels_that_begin_with_1_are_counted_so(data):
    root, write = data
    report = check(root, Reduced, ('wall', 'sky'))
    assert report.findings == []
    assert report.classes == {'wall': [3, 3], 'sky': [3, 3]}
    write('d', (0, 3))
    assert 'label 0 is ignored, class 0 is label 1' in only(check(root, Reduced, ('wall', 'sky')))
    # The step that loads the maps has the last word.
    steps = [dict(type='mmseg.LoadAnnotations', reduce_zero_label=False)]
    text = only(check(root, Reduced, ('wall', 'sky'), pipeline=steps))
    assert 'a.png has 2' in text


def test_maps_of_chosen_classes_have_the_numbers_of_all(data):
    root, write = data
    write('d', (0, 9))
    assert check(root, Reduced, ('sky',)).findings == []


@pytest.mark.parametrize(
    ('options', 'text'),
    [
        (dict(size=(8, 5)), r'd.png is 8 x 5, its image 8 x 6'),
        (dict(mode='RGB'), r'd.png: 3 channels, labels have one'),
    ],
)
def test_maps_of_another_form_are_named(data, options, text):
    root, write = data
    write('d', **options)
    assert text in only(check(root))


def test_lost_and_broken_maps_are_named(data):
    root, _ = data
    (root / 'maps' / 'b.png').unlink()
    assert 'maps: 1 of 3 images have no label map' in only(check(root))
    (root / 'maps' / 'b.png').write_text('no image')
    assert 'b.png: cannot identify image file it' in only(check(root))


def test_a_list_names_the_images(data):
    root, _ = data
    (root / 'list.txt').write_text('a\nsub/c\nlost\n')
    report = check(root, ann_file='list.txt')
    assert report.images == 3
    assert 'lost.png' in only(report)
    (root / 'bad.txt').write_bytes(b'\xff\xfe\xff')
    with pytest.raises(UserError, match=r'bad.txt cannot be read \(not a text file'):
        check(root, ann_file='bad.txt')


def test_a_suffix_that_no_image_has_is_told(data):
    root, _ = data
    assert 'no images in' in (text := only(check(root, img_suffix='.jpeg')))
    assert "names that end in '.jpeg' (img_suffix)" in text


def test_without_maps_only_the_images_count(data):
    root, _ = data
    node = dict(data_root=str(root), data_prefix=dict(img_path='images'))
    report = check_maps(SegDataset, node, None)
    assert (report.images, report.findings) == (3, [])


def test_the_quick_form_looks_at_some_maps_over_the_whole_set(data):
    root, write = data
    for i in range(3 * LOOKED_AT):
        write(f'more/{i:03}', (0, 9) if i % 2 else (0, 1))
    quick, deep = (check(root, deep=deep) for deep in (False, True))
    assert f' of {len(deep.paths)} maps' in deep.findings[0].text
    looked_at = int(quick.findings[0].text.split(' of ')[1].split()[0])
    assert LOOKED_AT <= looked_at < 2 * LOOKED_AT
    assert quick.classes == {}


@needs_mmseg
def test_the_images_are_those_that_mmseg_lists(data):
    from mmseg.datasets import BaseSegDataset

    root, _ = data
    (root / 'list.txt').write_text('a\nsub/c\n')
    for ann_file in ('', 'list.txt'):
        report = check(root, BaseSegDataset, ann_file=ann_file)
        prefix = dict(img_path='images', seg_map_path='maps')
        built = BaseSegDataset(
            ann_file, data_root=str(root), data_prefix=prefix, metainfo=dict(classes=CLASSES[:3])
        )
        assert [built[i]['img_path'] for i in range(len(built))] == list(report.paths)
        assert report.findings == []


@needs_mmseg
def test_a_config_is_checked_with_its_heads(shapes_root, tmp_path):
    from selnext_mm.cli.semantic_maps import main

    for name in ('annotations', 'train2017', 'val2017'):
        (tmp_path / name).symlink_to(shapes_root / name)
    assert main([str(tmp_path)]) == 0
    cfg = load_config('upernet/selnext_atto_shapes.py')
    set_data_root(cfg, tmp_path)
    train, val = check_config(cfg)
    assert (train.errors, val.errors) == ([], [])
    assert list(train.classes) == list(CLASSES)
    assert train.classes['background'] == [16, 16]
    lines = stop_on_bad_data(cfg, ('train_dataloader', 'val_dataloader'))
    assert lines == ['train_dataloader: 16 images', 'val_dataloader: 8 images']
    cfg.model.decode_head.num_classes = 150
    with pytest.raises(UserError, match=r'decode_head.num_classes is 150, the data set has 7'):
        stop_on_bad_data(cfg, ('train_dataloader',))
