"""The cache, the choice of the validation images, and what is given back."""

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from selnext_mm.datasets.formats import convert, find_dataset
from selnext_mm.errors import UserError
from tests.datasets.formats.writers import (
    SMALL,
    WRITERS,
    describe,
    picture,
    write_coco2017,
    write_roboflow,
    write_voc,
    write_yolo,
)


def state(folder):
    return {
        str(p.relative_to(folder)): (p.lstat().st_mtime_ns, p.lstat().st_size)
        for p in sorted(Path(folder).rglob('*'))
    }


@pytest.fixture
def conversions(monkeypatch):
    """Counts how often labels were converted."""
    calls, run = [], convert.Conversion.run
    monkeypatch.setattr(
        convert.Conversion, 'run', lambda self, *args: calls.append(1) or run(self, *args)
    )
    return calls


@pytest.mark.parametrize('kind', WRITERS)
def test_labels_are_converted_once_and_never_written_beside(kind, tmp_path, cache, conversions):
    folder = WRITERS[kind](SMALL, tmp_path / 'set')
    before = state(folder)
    first = find_dataset(folder)
    made = state(cache)
    second = find_dataset(folder)
    assert len(conversions) == 1
    assert state(folder) == before
    assert state(cache) == made
    assert first.choices[:-1] == second.choices[:-1]
    assert first.choices[-1] == f'converted labels: {first.cache}'
    assert second.choices[-1] == f'labels converted before: {first.cache}'
    assert (first.splits, first.classes, first.task) == (second.splits, second.classes, second.task)
    assert first.cache.parent == cache
    assert sorted(p.name for p in first.cache.iterdir()) == [
        'dataset.json',
        'train.json',
        'val.json',
    ]


def test_class_folders_are_listed_once(tmp_path, cache):
    for name in ('train/a/1.png', 'train/b/2.png', 'val/a/3.png', 'val/b/4.png'):
        (tmp_path / 'set' / name).parent.mkdir(parents=True, exist_ok=True)
        picture(8, 8).save(tmp_path / 'set' / name)
    before = state(tmp_path / 'set')
    find_dataset(tmp_path / 'set')
    made = state(cache)
    assert 'labels converted before' in find_dataset(tmp_path / 'set').choices[-1]
    assert (state(tmp_path / 'set'), state(cache)) == (before, made)


def change_label(folder):
    path = folder / 'labels/train/train_001.txt'
    path.write_text(path.read_text().replace('0 0.5', '1 0.5'))


def change_names(folder):
    path = folder / 'data.yaml'
    path.write_text(path.read_text().replace('ape', 'gorilla'))


def add_image(folder):
    picture().save(folder / 'images/train/new.png')


def remove_label(folder):
    (folder / 'labels/train/train_000.txt').unlink()


def replace_image(folder):
    picture(seed=99).save(folder / 'images/train/train_000.png')


@pytest.mark.parametrize(
    'change', [change_label, change_names, add_image, remove_label, replace_image]
)
def test_any_change_of_the_labels_or_images_converts_anew(change, tmp_path, conversions):
    folder = write_yolo(SMALL, tmp_path / 'set')
    first = find_dataset(folder)
    change(folder)
    second = find_dataset(folder)
    assert len(conversions) == 2
    assert first.cache != second.cache


def test_a_folder_that_was_moved_keeps_its_cache(tmp_path, conversions):
    folder = write_yolo(SMALL, tmp_path / 'a' / 'set')
    first = find_dataset(folder)
    os.rename(tmp_path / 'a', tmp_path / 'b')
    second = find_dataset(tmp_path / 'b' / 'set')
    assert len(conversions) == 1
    assert second.cache == first.cache
    assert second.splits['train'].image_root == tmp_path / 'b/set/images/train'


@pytest.mark.parametrize('name', ['dataset.json', 'train.json'])
@pytest.mark.parametrize('damage', ['cut', 'gone'])
def test_a_damaged_cache_is_made_anew(name, damage, tmp_path, conversions):
    folder = write_voc(SMALL, tmp_path / 'set')
    first = find_dataset(folder)
    whole = (first.cache / name).read_bytes()
    if damage == 'cut':
        (first.cache / name).write_bytes(whole[:20])
    else:
        (first.cache / name).unlink()
    find_dataset(folder)
    assert len(conversions) == 2
    assert (first.cache / name).read_bytes() == whole


def test_several_at_once_make_one_cache(tmp_path, cache):
    folder = write_coco2017(SMALL, tmp_path / 'set')
    found, errors = [], []

    def look():
        try:
            found.append(find_dataset(folder, progress=False))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({f.cache for f in found}) == 1
    assert [p.name for p in cache.iterdir()] == [found[0].cache.name]


def test_what_a_killed_conversion_left_is_removed_a_day_later(tmp_path, cache):
    for name in ('.old.tmp', '.new.tmp'):
        (cache / name).mkdir(parents=True)
    os.utime(cache / '.old.tmp', (0, 0))
    info = find_dataset(write_coco2017(SMALL, tmp_path / 'set'))
    assert sorted(p.name for p in cache.iterdir()) == ['.new.tmp', info.cache.name]


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path, cache):
    folder = write_yolo(SMALL, tmp_path / 'set')
    (folder / 'labels/val/val_001.txt').write_text('7 0.5 0.5 0.1 0.1\n')
    with pytest.raises(UserError, match='class 7'):
        find_dataset(folder)
    assert not cache.exists() or not any(cache.iterdir())


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    folder = write_yolo(SMALL, tmp_path / 'set')
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('SELNEXT_MM_CACHE', str(tmp_path / 'file'))
    with pytest.raises(UserError, match='SELNEXT_MM_CACHE'):
        find_dataset(folder)


def names(info, split):
    return [
        i['file_name'] for i in json.loads(info.splits[split].annotations.read_text())['images']
    ]


LARGER = describe(
    dict(train=[[('cat' if i % 3 else 'dog', 1, 2, 30, 40)] for i in range(30)]), ('cat', 'dog')
)


@pytest.mark.parametrize(('val', 'count'), [(None, 6), (0.1, 3), ('0.5', 15)])
def test_a_share_of_the_training_images(val, count, tmp_path):
    infos = [
        find_dataset(WRITERS[k](LARGER, tmp_path / k), val=val) for k in ('yolo', 'voc', 'coco2017')
    ]
    chosen = [names(i, 'val') for i in infos]
    assert chosen[0] == chosen[1] == chosen[2]
    assert len(chosen[0]) == count
    assert sorted(chosen[0] + names(infos[0], 'train')) == [f'train_{i:03}.png' for i in range(30)]
    contents = [json.loads(infos[0].splits[s].annotations.read_text()) for s in ('train', 'val')]
    for kind in ('images', 'annotations'):
        # Unique over both files.
        assert [r['id'] for c in contents for r in c[kind]] == list(range(1, 31))


def test_a_share_in_place_of_the_val_split(tmp_path):
    described = LARGER | describe(dict(val=[[('cat', 1, 1, 9, 9)]]), ('cat', 'dog'))
    described['val']['images'][0]['id'] = described['val']['annotations'][0]['image_id'] = 99
    described['val']['annotations'][0]['id'] = 99
    folder = write_yolo(described, tmp_path / 'set')
    assert names(find_dataset(folder), 'val') == ['val_000.png']
    info = find_dataset(folder, val=0.1)
    assert len(names(info, 'val')) == 3
    assert all(n.startswith('train') for n in names(info, 'val'))
    assert any('the val split is not used' in c for c in info.choices)


def test_another_folder_to_validate_on(tmp_path):
    train = write_yolo(LARGER, tmp_path / 'train set')
    other = write_roboflow(
        describe(dict(val=[[('dog', 3, 3, 8, 8)]]), ('cat', 'dog')), tmp_path / 'other'
    )
    info = find_dataset(train, val=other)
    assert (info.splits['train'].images, names(info, 'val')) == (30, ['val_000.png'])
    assert info.splits['val'].image_root == other / 'valid'
    content = json.loads(info.splits['val'].annotations.read_text())
    assert content['annotations'][0]['category_id'] == 2
    assert find_dataset(train, val=other).cache == info.cache
    assert find_dataset(train).cache != info.cache


def test_the_seed_of_the_choice(tmp_path):
    folder = write_voc(LARGER, tmp_path / 'set')
    infos = [find_dataset(folder, seed=s) for s in (0, 1, 0)]
    assert infos[0].cache == infos[2].cache
    assert names(infos[0], 'val') != names(infos[1], 'val')


def test_one_class_is_allowed_and_told(tmp_path):
    described = describe(
        dict(train=[[('cat', 1, 1, 9, 9)]] * 3, val=[[('cat', 1, 1, 9, 9)]]), ('cat',)
    )
    info = find_dataset(write_yolo(described, tmp_path / 'set'))
    assert 'one class only: cat' in info.choices


def test_tools_that_mark_every_mask_as_crowd(tmp_path):
    described = describe(
        dict(train=[[('cat', 2, 2, 9, 9)]] * 3, val=[[('cat', 2, 2, 9, 9)]]), ('cat',), masks=True
    )
    for content in described.values():
        for a in content['annotations']:
            a['iscrowd'] = 1
    info = find_dataset(write_coco2017(described, tmp_path / 'set'))
    content = json.loads(info.splits['train'].annotations.read_text())
    assert [a['iscrowd'] for a in content['annotations']] == [0, 0, 0]
    assert any('mark most objects as iscrowd' in c for c in info.choices)


def test_a_test_split_without_labels_is_left_out(tmp_path):
    described = describe(
        dict(train=[[('cat', 2, 2, 9, 9)]] * 3, val=[[('cat', 2, 2, 9, 9)]], test=[[], []]),
        ('cat',),
    )
    info = find_dataset(write_yolo(described, tmp_path / 'set'))
    assert list(info.splits) == ['train', 'val']
    assert 'no test split: its 2 images have no labels' in info.choices


@pytest.mark.realdata
def test_real_coco_files_give_mmdet_the_same_objects(coco_root):
    pytest.importorskip('mmdet', reason='needs mmdet')
    import numpy as np
    from mmdet.datasets import CocoDataset
    from mmdet.utils import register_all_modules

    register_all_modules()
    info = find_dataset(coco_root)
    assert (info.task, len(info.classes)) == ('masks', 80)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='PackDetInputs'),
    ]
    config = info.dataset_config('train', pipeline=pipeline)
    assert config.pop('type') == 'CocoDataset'
    ours = CocoDataset(**config)
    theirs = CocoDataset(
        ann_file=str(coco_root / 'annotations/instances_train2017.json'),
        data_prefix=dict(img=str(coco_root / 'train2017')),
        pipeline=pipeline,
    )
    assert ours.metainfo['classes'] == theirs.metainfo['classes']
    place = {Path(theirs.get_data_info(i)['img_path']).name: i for i in range(len(theirs))}
    assert len(place) == len(ours)
    objects = 0
    for i in range(0, len(ours), 4):
        one = ours[i]['data_samples']
        other = theirs[place[Path(one.img_path).name]]['data_samples']
        for kind in ('gt_instances', 'ignored_instances'):
            a, b = getattr(one, kind), getattr(other, kind)
            assert a.bboxes.tensor.equal(b.bboxes.tensor)
            assert a.labels.equal(b.labels)
            assert np.array_equal(a.masks.to_ndarray(), b.masks.to_ndarray())
            objects += len(a)
    assert objects > 120


def test_a_progress_bar_is_shown_for_long_conversions(tmp_path, monkeypatch, capfd):
    from selnext_mm.datasets.formats import progress

    folder = write_voc(SMALL, tmp_path / 'set')
    monkeypatch.setattr(progress, 'AFTER', -1.0)
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('COLUMNS', '100')
    find_dataset(folder)
    shown = capfd.readouterr().err
    assert 'reading label files' in shown
    assert 'converting train images' in shown
    shutil.rmtree(os.environ['SELNEXT_MM_CACHE'])
    find_dataset(folder, progress=False)
    assert capfd.readouterr().err == ''
