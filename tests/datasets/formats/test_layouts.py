"""What the tools of the field write, as they write it: all of it gives the same labels."""

import copy
import json
import shutil
from pathlib import Path

import pytest

from selnext_mm.datasets.formats import find_dataset
from tests.datasets.formats.writers import (
    SMALL,
    copy_to,
    describe,
    dump,
    make_images,
    picture,
    voc_xml,
    write_coco2017,
    write_roboflow,
    write_voc,
    write_yolo,
)

CLASSES = ('ape', 'cat', 'dog')


def boxes(info):
    """split -> image name without folders and suffix -> [(class, box), ...]."""
    found = {}
    for name, split in info.splits.items():
        content = json.loads(split.annotations.read_text())
        names = {c['id']: c['name'] for c in content['categories']}
        images = {i['id']: i['file_name'] for i in content['images']}
        for file_name in images.values():
            assert (split.image_root / file_name).is_file()
        found[name] = {Path(n).stem: [] for n in images.values()}
        for a in content['annotations']:
            found[name][Path(images[a['image_id']]).stem].append(
                (names[a['category_id']], a['bbox'])
            )
    return found


EXPECTED = {
    split: {
        Path(i['file_name']).stem: [
            (CLASSES[a['category_id'] - 1], a['bbox'])
            for a in content['annotations']
            if a['image_id'] == i['id']
        ]
        for i in content['images']
    }
    for split, content in SMALL.items()
}
TOGETHER = {k: v for images in EXPECTED.values() for k, v in images.items()}


def merged(described=SMALL):
    """All splits as one COCO content."""
    contents = copy.deepcopy(list(described.values()))
    return dict(
        images=[i for c in contents for i in c['images']],
        annotations=[a for c in contents for a in c['annotations']],
        categories=contents[0]['categories'],
    )


def said(info, words):
    return any(words in line for line in info.choices)


def one_file(folder, place, rename, file, first_id=1):
    """All images in one COCO file; ``rename`` says how the file names them."""
    make_images(SMALL, folder, lambda split, name: place(name))
    content = merged()
    content['images'] = [dict(i, file_name=rename(i['file_name'])) for i in content['images']]
    for i, a in enumerate(content['annotations'], first_id):
        a['id'] = i
    dump(content, folder / file)
    return folder


LAYOUTS = {
    'one file and a folder': ('images/{}', '{}', 'labels.json'),
    'CVAT': ('images/{}', '{}', 'annotations/instances_default.json'),
    'CVAT with subsets': ('images/default/{}', '{}', 'annotations/instances_default.json'),
    'Label Studio': ('images/{}', 'images/{}', 'result.json'),
    'Label Studio on Windows': ('images/{}', 'images\\{}', 'result.json'),
    'Label Studio with a server': (
        'images/a b {}', 'http://localhost:8080/data/upload/1/a%20b%20{}', 'result.json'
    ),
    'another machine': ('pictures/{}', 'C:\\Users\\me\\pictures\\{}', 'my.json'),
    'another Linux': ('pictures/{}', '/home/me/data/pictures/{}', 'my.json'),
    'beside the images': ('{}', './{}', '_annotations.coco.json'),
    'a space behind': ('images/{}', '{} ', 'labels.json'),
    'subfolders': ('images/day 1/cam/{}', 'day 1/cam/{}', 'labels.json'),
    'a folder in a folder': ('export/images/{}', '{}', 'export/labels.json'),
}  # fmt: skip


@pytest.mark.parametrize('layout', LAYOUTS)
def test_one_coco_file_gets_a_validation_split(layout, tmp_path):
    place, name, file = LAYOUTS[layout]
    folder = one_file(tmp_path / 'set', place.format, name.format, file, first_id=0)
    info = find_dataset(folder)
    assert info.format == 'coco'
    found = boxes(info)
    assert {
        k.removeprefix('a b '): v for images in found.values() for k, v in images.items()
    } == TOGETHER
    assert said(info, f'val split made: {len(found["val"])} of 6 images')
    for images in found.values():
        assert {b[0] for objects in images.values() for b in objects} == {'ape', 'cat', 'dog'}
    again = find_dataset(folder / file)
    assert boxes(again) == found


def test_the_file_names_keep_their_subfolders(tmp_path):
    folder = tmp_path / 'set'
    content = merged()
    for i, record in enumerate(content['images']):
        # The same names in two folders.
        record['file_name'] = f'cam{i % 2}/{i // 2}.png'
        path = folder / 'images' / record['file_name']
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed=i).save(path)
    dump(content, folder / 'labels.json')
    info = find_dataset(folder)
    names = [
        i['file_name']
        for s in info.splits.values()
        for i in json.loads(s.annotations.read_text())['images']
    ]
    assert sorted(names) == [f'cam{c}/{i}.png' for c in (0, 1) for i in range(3)]
    assert info.splits['train'].image_root == folder / 'images'


def test_equal_names_in_two_splits_belong_to_their_own_files(tmp_path):
    described = describe(dict(train=[[('cat', 1, 2, 3, 4)]], val=[[('cat', 5, 6, 7, 8)]]), ('cat',))
    for content in described.values():
        content['images'][0]['file_name'] = 'frame.png'
    folder = write_roboflow(described, tmp_path / 'roboflow')
    info = find_dataset(folder)
    assert boxes(info) == dict(
        train={'frame': [('cat', [1, 2, 3, 4])]}, val={'frame': [('cat', [5, 6, 7, 8])]}
    )
    assert info.splits['val'].image_root == folder / 'valid'


def test_roboflow_s_parent_category_is_dropped_and_named(tmp_path):
    info = find_dataset(write_roboflow(SMALL, tmp_path / 'roboflow'))
    assert info.classes == CLASSES
    assert said(info, 'left out: things, a parent category without a box')
    assert said(info, 'category ids 0, 1, 2 and 1 more')


def test_a_parent_category_with_boxes_is_a_class(tmp_path):
    folder = write_roboflow(SMALL, tmp_path / 'roboflow')
    path = folder / 'train' / '_annotations.coco.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['category_id'] = 0
    path.write_text(json.dumps(content))
    assert find_dataset(folder).classes == ('things', *CLASSES)


def test_category_ids_with_gaps_and_unused_classes_keep_their_order(tmp_path):
    folder = write_coco2017(SMALL, tmp_path / 'coco')
    for path in (folder / 'annotations').iterdir():
        content = json.loads(path.read_text())
        for c in content['categories']:
            c['id'] = 90 - 10 * c['id']  # 80, 70, 60
        for a in content['annotations']:
            a['category_id'] = 90 - 10 * a['category_id']
        content['categories'].append(dict(id=65, name='owl'))
        path.write_text(json.dumps(content))
    info = find_dataset(folder)
    assert info.classes == ('dog', 'owl', 'cat', 'ape')
    assert boxes(info) == EXPECTED
    assert said(info, 'classes without an object: owl')


def test_other_annotation_files_of_coco_are_left_alone(tmp_path):
    folder = write_coco2017(SMALL, tmp_path / 'coco')
    keypoints = folder / 'annotations' / 'person_keypoints_train2017.json'
    shutil.copy(folder / 'annotations' / 'instances_train2017.json', keypoints)
    dump([dict(image_id=1, caption='a')], folder / 'annotations' / 'results.json')
    info = find_dataset(folder)
    assert boxes(info) == EXPECTED
    assert said(info, 'instances_train2017.json is used, not annotations/person_keypoints')


def test_linked_folders_are_followed(tmp_path):
    folder = write_coco2017(SMALL, tmp_path / 'real')
    linked = tmp_path / 'linked'
    linked.mkdir()
    for name in ('annotations', 'train2017', 'val2017'):
        (linked / name).symlink_to(folder / name)
    (folder / 'train2017' / 'loop').symlink_to(folder)
    assert boxes(find_dataset(linked)) == EXPECTED


def yolo(tmp_path, yaml, **kwargs):
    folder = write_yolo(SMALL, tmp_path / 'yolo', **kwargs)
    (folder / 'data.yaml').write_text(yaml)
    return folder


NAMES = 'names: [ape, cat, dog]\n'
YAMLS = {
    'dict of names': 'train: images/train\nval: images/val\nnames:\n  0: ape\n  1: cat\n  2: dog\n',
    'list of folders': f'train: [images/train]\nval: [images/val]\n{NAMES}',
    'path': f'path: ./\ntrain: images/train\nval: images/val\n{NAMES}',
    'path from above': f'path: ../yolo\ntrain: images/train\nval: images/val\n{NAMES}',
    'path of another machine': (
        f'path: /content/datasets/yolo\ntrain: images/train\nval: images/val\n{NAMES}'
    ),
    'absolute of another machine': (
        f'train: /content/yolo/images/train\nval: C:\\data\\images\\val\n{NAMES}'
    ),
    'Roboflow': f'train: ../images/train\nval: ../images/val\ntest: ../images/test\nnc: 3\n{NAMES}',
    'valid': f'train: images/train/\nvalid: images/val/\ntest:\n{NAMES}',
    'a comment and a tab': f'# mine\ntrain: images/train # here\nval: images/val\n{NAMES}',
}


@pytest.mark.parametrize('kind', YAMLS)
def test_yolo_s_yaml_is_read_as_it_is_written_everywhere(kind, tmp_path):
    folder = yolo(tmp_path, YAMLS[kind])
    info = find_dataset(folder)
    assert (info.format, info.classes) == ('yolo', CLASSES)
    assert boxes(info) == EXPECTED
    assert boxes(find_dataset(folder / 'data.yaml')) == EXPECTED


def test_yolo_with_lists_of_images(tmp_path):
    folder = yolo(tmp_path, f'train: train.txt\nval: lists/val.txt\n{NAMES}')
    (folder / 'lists').mkdir()
    train, val = (sorted((folder / f'images/{s}').iterdir()) for s in ('train', 'val'))
    (folder / 'train.txt').write_text('\n'.join(f'./images/train/{p.name}' for p in train))
    (folder / 'lists/val.txt').write_text('\n'.join(map(str, val)))
    assert boxes(find_dataset(folder)) == EXPECTED


def test_yolo_outside_of_the_folder_of_its_yaml(tmp_path):
    write_yolo(SMALL, tmp_path / 'data')
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'configs/mine.yaml').write_text(
        f'path: {tmp_path}/data\ntrain: images/train\nval: images/val\n{NAMES}'
    )
    info = find_dataset(tmp_path / 'configs/mine.yaml')
    assert boxes(info) == EXPECTED
    assert info.splits['val'].image_root == tmp_path / 'data/images/val'


def test_yolo_with_class_names_in_a_text_file(tmp_path):
    folder = write_yolo(SMALL, tmp_path / 'yolo', yaml=False)
    info = find_dataset(folder)
    assert boxes(info) == EXPECTED
    assert said(info, 'no data.yaml: class names from classes.txt')


def test_yolo_by_cvat_has_labels_beside_the_images(tmp_path):
    folder = tmp_path / 'cvat'
    source = write_yolo(SMALL, tmp_path / 'yolo')
    for split, name in (('train', 'obj_train_data'), ('val', 'obj_valid_data')):
        (folder / name).mkdir(parents=True)
        for part in ('images', 'labels'):
            for path in (source / part / split).iterdir():
                shutil.copy(path, folder / name)
    (folder / 'obj.names').write_text('ape\ncat\ndog\n')
    (folder / 'obj.data').write_text('classes = 3\nnames = data/obj.names\n')
    (folder / 'train.txt').write_text('data/obj_train_data/train_000.png\n')
    assert boxes(find_dataset(folder)) == EXPECTED


@pytest.mark.parametrize(
    ('line', 'task', 'box'),
    [
        ('0 0.5 0.5 0.25 0.5', 'boxes', [24, 12, 16, 24]),
        ('0 .5 .5 .25 .5', 'boxes', [24, 12, 16, 24]),
        ('0 5e-1 5E-1 2.5e-1 0.5', 'boxes', [24, 12, 16, 24]),
        ('0.0 0.5 0.5 0.25 0.5', 'boxes', [24, 12, 16, 24]),
        ('0 0.5 0.5 0.25 0.5 0.93', 'boxes', [24, 12, 16, 24]),  # with a score
        ('0\t0.5  0.5 0.25 0.5  \n\n', 'boxes', [24, 12, 16, 24]),
        ('0 0.25 0.25 0.75 0.25 0.5 0.75', 'masks', [16, 12, 32, 24]),
        ('0 0.5 0.25 0.75 0.5 0.5 0.75 0.25 0.5', 'masks', [16, 12, 32, 24]),  # oriented
    ],
)
def test_lines_of_yolo(line, task, box, tmp_path):
    folder = write_yolo(describe(dict(train=[[]], val=[[]])), tmp_path / 'yolo')
    for path in (folder / 'labels').rglob('*.txt'):
        path.write_text(line)
    info = find_dataset(folder)
    assert info.task == task
    assert boxes(info)['train'] == {'train_000': [('ape', box)]}


def test_keypoints_of_yolo_are_left_out(tmp_path):
    folder = yolo(tmp_path, f'train: images/train\nval: images/val\nkpt_shape: [1, 3]\n{NAMES}')
    for path in (folder / 'labels').rglob('*.txt'):
        lines = path.read_text().splitlines()
        path.write_text(''.join(f'{line} 0.5 0.5 2\n' for line in lines))
    info = find_dataset(folder)
    assert (info.task, boxes(info)) == ('boxes', EXPECTED)
    assert said(info, 'keypoints')


def test_names_of_yolo_are_text_whatever_yaml_thinks(tmp_path):
    folder = yolo(tmp_path, 'train: images/train\nval: images/val\nnames: [no, 12, 1.0]\n')
    assert find_dataset(folder).classes == ('no', '12', '1.0')


def test_gaps_in_the_names_of_yolo(tmp_path):
    folder = yolo(
        tmp_path,
        'train: images/train\nval: images/val\nnames: {0: ape, 1: cat, 2: dog, 7: owl}\n',
    )
    info = find_dataset(folder)
    assert (info.classes, boxes(info)) == ((*CLASSES, 'owl'), EXPECTED)
    assert said(info, 'class numbers without a name are left out: 3, 4, 5 and 1 more')


def test_the_same_images_in_train_and_val_are_told(tmp_path):
    folder = yolo(tmp_path, f'train: images/train\nval: images/train\n{NAMES}')
    assert said(find_dataset(folder), 'WARNING: train and val are the same images')


def test_pascal_voc_in_a_devkit_without_a_val_list(tmp_path):
    folder = write_voc(SMALL, tmp_path / 'kit/VOCdevkit/VOC2012')
    lists = folder / 'ImageSets/Main'
    (lists / 'trainval.txt').write_text((lists / 'train.txt').read_text())
    (lists / 'test.txt').write_text((lists / 'val.txt').read_text())
    (lists / 'ape_train.txt').write_text('train_000 -1\n')
    for name in ('train', 'val'):
        (lists / f'{name}.txt').unlink()
    found = boxes(find_dataset(tmp_path / 'kit'))
    assert found.pop('test') == EXPECTED['val']
    assert found['train'] | found['val'] == EXPECTED['train']
    assert len(found['val']) == 1


def test_pascal_voc_of_two_years(tmp_path):
    for year, split in ((2007, 'train'), (2012, 'val')):
        write_voc({split: SMALL[split]}, tmp_path / f'VOC{year}')
    info = find_dataset(tmp_path)
    assert boxes(info) == EXPECTED


@pytest.mark.parametrize(
    ('xml', 'image'),
    [('', ''), ('Annotations/', 'JPEGImages/'), ('annotations/', 'images/'), ('xmls/', '')],
)
@pytest.mark.parametrize('folders', [('train', 'valid'), ('train', 'val')])
def test_pascal_voc_in_folders_by_split(xml, image, folders, tmp_path):
    name = dict(zip(('train', 'val'), folders, strict=True))
    make_images(SMALL, tmp_path, lambda split, file: f'{name[split]}/{image}{file}')
    for split, content in SMALL.items():
        for record in content['images']:
            path = tmp_path / name[split] / xml / f'{Path(record["file_name"]).stem}.xml'
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(voc_xml(content, record))
    assert boxes(find_dataset(tmp_path)) == EXPECTED


def test_pascal_voc_whose_files_have_other_names_than_the_images(tmp_path):
    folder = tmp_path / 'set'
    make_images(SMALL, folder, lambda split, file: f'images/{file}')
    for content in SMALL.values():
        for i, record in enumerate(content['images']):
            text = voc_xml(content, dict(record, file_name=f'D:\\x\\{record["file_name"]}'))
            (folder / f'{i}{len(content["images"])}.xml').write_text(text)
    found = boxes(find_dataset(folder))
    assert {k: v for images in found.values() for k, v in images.items()} == TOGETHER


def test_difficult_objects_are_ignored_as_crowds(tmp_path):
    described = describe(
        dict(train=[[('cat', 1, 2, 3, 4), ('cat', 5, 5, 9, 9)]], val=[[('cat', 1, 1, 9, 9)]]),
        ('cat',),
    )
    described['train']['annotations'][1]['difficult'] = 1
    info = find_dataset(write_voc(described, tmp_path / 'voc'))
    content = json.loads(info.splits['train'].annotations.read_text())
    assert [a['iscrowd'] for a in content['annotations']] == [0, 1]
    assert said(info, 'difficult, neither learnt nor counted as missed: 1')


def folders(tmp_path, *names):
    for i, name in enumerate(names):
        path = tmp_path / 'set' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(8, 8, i).save(path)
    return tmp_path / 'set'


def lists(info):
    return {
        name: dict(line.rsplit(' ', 1) for line in split.annotations.read_text().splitlines())
        for name, split in info.splits.items()
    }


@pytest.mark.parametrize('val', ['val', 'valid', 'validation'])
def test_class_folders(val, tmp_path):
    folder = folders(
        tmp_path,
        *('train/dog/1.png', 'train/cat/a b.JPG', 'train/cat/deep/er/2.webp'),
        *(f'{val}/dog/3.bmp', f'{val}/cat/4.tiff', 'test/cat/5.jpeg'),
        *('train/.ipynb_checkpoints/6.png', 'train/dog/._1.png'),
    )
    info = find_dataset(folder)
    assert (info.format, info.task, info.classes) == ('folders', 'classification', ('cat', 'dog'))
    assert lists(info) == dict(
        train={'cat/a b.JPG': '0', 'cat/deep/er/2.webp': '0', 'dog/1.png': '1'},
        val={'cat/4.tiff': '0', 'dog/3.bmp': '1'},
        test={'cat/5.jpeg': '0'},
    )
    assert info.splits['val'].image_root == folder / val
    assert said(info, 'test has no images of dog')


def test_class_folders_without_splits_and_in_another_folder(tmp_path):
    names = [f'archive/{c}/{i}.png' for c in ('cat', 'dog') for i in range(10)]
    info = find_dataset(folders(tmp_path, *names))
    found = lists(info)
    assert {k: len(v) for k, v in found.items()} == dict(train=16, val=4)
    assert sorted(found['val'].values()) == ['0', '0', '1', '1']
    assert sorted(found['train'] | found['val']) == sorted(n.partition('/')[2] for n in names)


def test_class_folders_load_in_mmpretrain(tmp_path):
    pytest.importorskip('mmpretrain', reason='needs mmpretrain')
    from mmpretrain.datasets import CustomDataset

    info = find_dataset(
        folders(
            tmp_path, *(f'{s}/{c}/{i} .png' for s in ('train', 'val') for c in 'ab' for i in 'xy')
        )
    )
    config = info.dataset_config('val', pipeline=[])
    assert config.pop('type') == 'CustomDataset'
    dataset = CustomDataset(**config)
    assert [dataset.get_gt_labels().tolist(), len(dataset)] == [[0, 0, 1, 1], 4]
    assert all(Path(dataset.get_data_info(i)['img_path']).is_file() for i in range(4))


def write_lvis(folder):
    write_coco2017(
        describe(
            dict(
                train=[[('ape', 1, 2, 30, 40)], [('cat', 3, 3, 9, 9)]], val=[[('cat', 2, 2, 8, 8)]]
            ),
            ('ape', 'cat', 'dog'),
            masks=True,
        ),
        folder,
    )
    for split in ('train', 'val'):
        path = folder / f'annotations/instances_{split}2017.json'
        content = json.loads(path.read_text())
        path.unlink()
        for i in content['images']:
            i['coco_url'] = f'http://images.cocodataset.org/{split}2017/{i.pop("file_name")}'
            i |= dict(neg_category_ids=[3], not_exhaustive_category_ids=[1, 2])
        for c in content['categories']:
            c |= dict(frequency='r', synset=f'{c["name"]}.n.01', image_count=1)
        dump(content, folder / f'annotations/lvis_v1_{split}.json')
    return folder


def test_lvis_keeps_what_its_metric_needs(tmp_path):
    info = find_dataset(write_lvis(tmp_path / 'lvis'))
    assert (info.format, info.task, info.classes) == ('lvis', 'masks', CLASSES)
    content = json.loads(info.splits['train'].annotations.read_text())
    assert [i['file_name'] for i in content['images']] == ['train_000.png', 'train_001.png']
    assert content['images'][0]['neg_category_ids'] == [3]
    assert content['images'][0]['not_exhaustive_category_ids'] == [1, 2]
    assert content['categories'][1]['frequency'] == 'r'


def test_lvis_beside_coco_is_chosen_by_name(tmp_path):
    write_lvis(tmp_path / 'set')
    write_coco2017(SMALL, tmp_path / 'set')
    assert find_dataset(tmp_path / 'set', format='coco').splits['train'].objects == 6
    assert find_dataset(tmp_path / 'set', format='lvis').splits['train'].objects == 2


def test_a_copy_elsewhere_is_the_same(tmp_path):
    folder = write_voc(SMALL, tmp_path / 'voc')
    assert boxes(find_dataset(copy_to(folder, tmp_path / 'copy'))) == EXPECTED
