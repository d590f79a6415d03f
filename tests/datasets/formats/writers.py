"""Small data sets written in each format from one description, as the tools of the field do it.

A description is {split: COCO content}. The writers share no code with the readers.
"""

import copy
import json
import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

VOC_XML = """<annotation>
	<folder>JPEGImages</folder>
	<filename>{name}</filename>
	<size><width>{width}</width><height>{height}</height><depth>3</depth></size>
	<segmented>0</segmented>
{objects}</annotation>
"""
VOC_OBJECT = """	<object>
		<name>{name}</name>
		<pose>Unspecified</pose>
		<truncated>0</truncated>
		<difficult>{difficult}</difficult>
		<bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox>
	</object>
"""


def picture(width=64, height=48, seed=0):
    """Noise; large images are of one colour, which is written sooner."""
    rng = np.random.default_rng(seed)
    shape = (height, width, 3) if width * height < 10_000 else (1, 1, 3)
    noise = rng.integers(0, 255, shape, np.uint8)
    return Image.fromarray(np.broadcast_to(noise, (height, width, 3)).copy())


def describe(boxes, classes=('ape', 'cat', 'dog'), size=(64, 48), masks=False):
    """{split: [[(class, x, y, w, h), ...] of each image]} -> {split: COCO content}."""
    described, image_id, annotation_id = {}, 0, 0
    for split, images in boxes.items():
        content = dict(images=[], annotations=[], categories=[])
        content['categories'] = [dict(id=i, name=n) for i, n in enumerate(classes, 1)]
        for number, objects in enumerate(images):
            image_id += 1
            name = f'{split}_{number:03}.png'
            content['images'].append(
                dict(id=image_id, file_name=name, width=size[0], height=size[1])
            )
            for kind, x, y, w, h in objects:
                annotation_id += 1
                record = dict(
                    id=annotation_id,
                    image_id=image_id,
                    category_id=classes.index(kind) + 1,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=0,
                )
                if masks:
                    corners = [[x, y, x + w, y, x + w, y + h, x + w / 2, y + h / 2, x, y + h]]
                    record |= dict(segmentation=corners, area=w * h * 0.75)
                content['annotations'].append(record)
        described[split] = content
    return described


SMALL = describe(
    {
        'train': [
            [('cat', 3, 4, 10, 20), ('dog', 30, 1, 33, 47)],
            [('ape', 0, 0, 64, 48)],
            [],
            [('dog', 63, 47, 1, 1), ('cat', 13, 29, 7, 11), ('cat', 0, 5, 1, 43)],
        ],
        'val': [[('ape', 5, 6, 7, 8)], [('dog', 1, 1, 9, 9), ('cat', 40, 40, 24, 8)]],
    }
)


def make_images(described, folder, place=lambda split, name: name, suffix='.png'):
    """Draw the images of a description; ``place`` says where in ``folder``."""
    for split, content in described.items():
        for record in content['images']:
            path = Path(folder, place(split, record['file_name']))
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(record['width'], record['height'], record['id']).save(path)


def link_images(source):
    """A stand-in for :func:`make_images` that links real ones from the folder ``source``."""

    def link(described, folder, place=lambda split, name: name):
        for split, content in described.items():
            for record in content['images']:
                path = Path(folder, place(split, record['file_name']))
                path.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(Path(source, record['file_name']), path)

    return link


def dump(content, path):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_coco2017(described, folder, images=make_images):
    """COCO's own layout: annotations/instances_train2017.json and train2017/."""
    images(described, folder, lambda split, name: f'{split}2017/{name}')
    for split, content in described.items():
        dump(content, Path(folder, f'annotations/instances_{split}2017.json'))
    return Path(folder)


def write_roboflow(described, folder, images=make_images):
    """Roboflow's COCO export: ids from 0, a supercategory as category 0, valid/ for val."""
    names = {'val': 'valid'}
    images(described, folder, lambda split, name: f'{names.get(split, split)}/{name}')
    for split, content in described.items():
        content = copy.deepcopy(content)
        number = {c['id']: i for i, c in enumerate(content['categories'], 1)}
        image = {r['id']: i for i, r in enumerate(content['images'])}
        for i, a in enumerate(content['annotations']):
            a |= dict(id=i, image_id=image[a['image_id']], category_id=number[a['category_id']])
            a.setdefault('segmentation', [])
        for record in content['images']:
            record |= dict(id=image[record['id']], license=1, date_captured='2024')
        content['categories'] = [dict(id=0, name='things', supercategory='none')] + [
            dict(id=number[c['id']], name=c['name'], supercategory='things')
            for c in content['categories']
        ]
        content = dict(info=dict(year='2024'), licenses=[dict(id=1)], **content)
        dump(content, Path(folder, names.get(split, split), '_annotations.coco.json'))
    return Path(folder)


def yolo_lines(content, image, digits=6):
    """``class x y w h`` in fractions, or ``class x1 y1 ...`` for masks of one polygon."""
    place = {c['id']: i for i, c in enumerate(content['categories'])}
    size = np.array([image['width'], image['height']], float)
    for a in content['annotations']:
        if a['image_id'] == image['id']:
            if a.get('segmentation'):
                values = (np.array(a['segmentation'][0], float).reshape(-1, 2) / size).ravel()
            else:
                corner, side = np.array(a['bbox'][:2], float), np.array(a['bbox'][2:], float)
                values = np.concatenate([(corner + side / 2) / size, side / size])
            numbers = ' '.join(
                repr(float(v)) if digits is None else f'{v:.{digits}f}' for v in values
            )
            yield f'{place[a["category_id"]]} {numbers}\n'


def write_yolo(described, folder, images=make_images, digits=6, yaml=True):
    """images/train, labels/train and data.yaml; ``digits`` None writes all that float64 has."""
    folder = Path(folder)
    images(described, folder, lambda split, name: f'images/{split}/{name}')
    for split, content in described.items():
        labels = folder / 'labels' / split
        labels.mkdir(parents=True)
        for image in content['images']:
            text = ''.join(yolo_lines(content, image, digits))
            (labels / Path(image['file_name']).with_suffix('.txt').name).write_text(text)
    names = [c['name'] for c in next(iter(described.values()))['categories']]
    if yaml:
        lines = [f'{split}: images/{split}\n' for split in described]
        text = ''.join(lines) + f'nc: {len(names)}\nnames: [{", ".join(names)}]\n'
        (folder / 'data.yaml').write_text(text)
    else:
        (folder / 'classes.txt').write_text('\n'.join(names) + '\n')
    return folder


def voc_xml(content, image, origin=1):
    """The XML of one image; ``origin`` 0 for tools that count from 0."""
    names = {c['id']: c['name'] for c in content['categories']}
    objects = ''
    for a in content['annotations']:
        if a['image_id'] == image['id']:
            x, y, w, h = a['bbox']
            objects += VOC_OBJECT.format(
                name=names[a['category_id']],
                difficult=a.get('difficult', 0),
                x0=x + origin,
                y0=y + origin,
                x1=x + w,
                y1=y + h,
            )
    return VOC_XML.format(
        name=image['file_name'], width=image['width'], height=image['height'], objects=objects
    )


def write_voc(described, folder, images=make_images, origin=1):
    """Annotations/, JPEGImages/ and ImageSets/Main/ as the Pascal VOC devkit has them."""
    folder = Path(folder)
    images(described, folder, lambda split, name: f'JPEGImages/{name}')
    for part in ('Annotations', 'ImageSets/Main'):
        (folder / part).mkdir(parents=True)
    for split, content in described.items():
        stems = [Path(i['file_name']).stem for i in content['images']]
        (folder / f'ImageSets/Main/{split}.txt').write_text('\n'.join(stems) + '\n')
        for stem, image in zip(stems, content['images'], strict=True):
            (folder / f'Annotations/{stem}.xml').write_text(voc_xml(content, image, origin))
    return folder


WRITERS = dict(coco2017=write_coco2017, roboflow=write_roboflow, yolo=write_yolo, voc=write_voc)


def copy_to(folder, target):
    shutil.copytree(folder, target, symlinks=True)
    return Path(target)
