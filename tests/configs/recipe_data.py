"""Each data set that a recipe names, in its own format and layout, with pictures of noise."""

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
from PIL import Image

from selnext_mm.config.load import load_config
from selnext_mm.datasets.semantic_maps import write_semantic_maps
from selnext_mm.datasets.shapes import annotation_file, write_shapes

NUMBER = 2  # pictures in each split
GENERATOR = np.random.default_rng(0)


def picture(path: Path, side=64) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(GENERATOR.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(path)


def coco(root: Path) -> None:
    """The shapes, under the first names of COCO's 80 classes."""
    from mmdet.datasets import CocoDataset

    shapes(root)
    names = CocoDataset.METAINFO['classes']
    for path in (root / 'annotations').glob('*.json'):
        content = json.loads(path.read_text())
        content['categories'] = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
        path.write_text(json.dumps(content))


def class_folders(root: Path, splits: tuple[str, str], classes: int) -> None:
    for split in splits:
        for i in range(classes):
            folder = root / split / f'class_{i:03d}'
            folder.mkdir(parents=True)
            if i < NUMBER:
                picture(folder / f'{split}_{i}.png')
            else:
                (folder / f'{split}_{i}.png').hardlink_to(root / split / f'class_000/{split}_0.png')


def imagenet(root: Path) -> None:
    class_folders(root, ('train', 'val'), 1000)


def cifar10(root: Path) -> None:
    class_folders(root, ('train', 'test'), 10)


def cifar100(root: Path) -> None:
    folder = root / 'cifar-100-python'
    folder.mkdir(parents=True)
    for split in ('train', 'test'):
        images = GENERATOR.integers(0, 256, (NUMBER, 3072), dtype=np.uint8)
        labels = list(range(NUMBER))
        (folder / split).write_bytes(pickle.dumps(dict(data=images, fine_labels=labels)))
    names = [f'class {i}' for i in range(100)]
    (folder / 'meta').write_bytes(pickle.dumps(dict(fine_label_names=names)))


def name_checksums_of_cifar100(monkeypatch, root: Path) -> None:
    """mmpretrain takes the files by the checksums of the published ones."""
    from mmpretrain.datasets import CIFAR100

    folder = root / 'cifar-100-python'
    md5 = {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.iterdir()}
    for split in ('train', 'test'):
        monkeypatch.setattr(CIFAR100, f'{split}_list', [[split, md5[split]]])
    monkeypatch.setattr(CIFAR100, 'meta', dict(CIFAR100.meta, md5=md5['meta']))


def flowers102(root: Path) -> None:
    from mat4py import savemat

    ids = list(range(1, 3 * NUMBER + 1))
    for i in ids:
        picture(root / 'jpg' / f'image_{i:05d}.jpg')
    savemat(str(root / 'imagelabels.mat'), {'labels': [i % 102 + 1 for i in ids]})
    thirds = dict(trnid=ids[:NUMBER], valid=ids[NUMBER : 2 * NUMBER], tstid=ids[2 * NUMBER :])
    savemat(str(root / 'setid.mat'), thirds)


def cars(root: Path) -> None:
    from mat4py import savemat

    (root / 'devkit').mkdir(parents=True)
    for split, end in (('train', ''), ('test', '_withlabels')):
        names = [f'{i + 1:05d}.jpg' for i in range(NUMBER)]
        for name in names:
            picture(root / f'cars_{split}' / name)
        labels = {'annotations': {'fname': names, 'class': [i + 1 for i in range(NUMBER)]}}
        savemat(str(root / 'devkit' / f'cars_{split}_annos{end}.mat'), labels)


def aircraft(root: Path) -> None:
    for split in ('trainval', 'test'):
        rows = [f'{split}{i} 707-320' for i in range(NUMBER)]
        for row in rows:
            picture(root / 'data' / 'images' / f'{row.split()[0]}.jpg')
        (root / 'data' / f'images_variant_{split}.txt').write_text('\n'.join(rows))


def ade(root: Path) -> None:
    for split in ('training', 'validation'):
        for i in range(NUMBER):
            picture(root / 'ADEChallengeData2016/images' / split / f'{i}.jpg')
            labels = root / 'ADEChallengeData2016/annotations' / split / f'{i}.png'
            labels.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(GENERATOR.integers(0, 151, (64, 64), dtype=np.uint8)).save(labels)


def shapes(root: Path) -> None:
    write_shapes(root, train=NUMBER, val=NUMBER, size=128, seed=0)
    for split in ('train', 'val'):
        write_semantic_maps(annotation_file(root, split), root / 'semantic' / f'{split}2017')


WRITERS = {
    write.__name__: write
    for write in (coco, imagenet, cifar10, cifar100, flowers102, cars, aircraft, ade, shapes)
}


def data_of(leaf: str) -> str:
    """The folder below ``data/`` that a recipe reads."""
    return Path(load_config(leaf).train_dataloader.dataset.data_root).parts[1]
