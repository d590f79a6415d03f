"""A small, sound COCO file as plain data, to be spoilt one field at a time."""

import copy

CLASSES = ('cat', 'dog', 'traffic light')


def polygon(x, y, w, h):
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def annotation(key, image, category, box, **fields):
    return dict(
        id=key,
        image_id=image,
        category_id=category,
        bbox=list(box),
        area=box[2] * box[3],
        iscrowd=0,
        segmentation=polygon(*box),
        **fields,
    )


_SOUND = dict(
    images=[dict(id=i, file_name=f'{i}.jpg', width=100, height=80) for i in (1, 2, 3)],
    categories=[dict(id=10 + i, name=name) for i, name in enumerate(CLASSES)],
    annotations=[
        annotation(1, 1, 10, (10, 10, 30, 20)),
        annotation(2, 1, 11, (50, 30, 30, 40)),
        annotation(3, 2, 12, (5, 5, 20, 20)),
        annotation(4, 2, 10, (0, 0, 100, 80)),
        annotation(5, 3, 11, (40, 40, 10, 10)),
        annotation(6, 3, 12, (60, 10, 25, 30)),
    ],
)


def sound():
    return copy.deepcopy(_SOUND)
