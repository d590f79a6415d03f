"""A large image of small shapes, and a detector that knows them but is short-sighted."""

import cv2
import numpy as np
from pycocotools import mask as mask_utils

SIDE = 128  # of the detector's input
LEAST = 7  # pixels that an object needs there


def encoded(mask):
    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return dict(size=list(rle['size']), counts=rle['counts'].decode())


def draw(height, width, objects):
    """(H, W, 3) image of rectangles (x, y, w, h) and rings; the third channel says which."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for number, (label, x, y, w, h) in enumerate(objects, 1):
        pixels[y : y + h, x : x + w] = (50 + 100 * label, 0, number)
        if label:  # a ring, so that its mask is not its box
            inner = slice(y + h // 3, y + h - h // 3), slice(x + w // 3, x + w - w // 3)
            pixels[inner] = 0
    return pixels


def oracle(pictures):
    """Exact boxes and masks of what is ``LEAST`` pixels large after resizing to ``SIDE``.

    The better visible, the higher the score.
    """
    result = []
    for pixels in pictures:
        scale = SIDE / max(pixels.shape[:2])
        found = []
        for number in np.unique(pixels[..., 2])[1:]:
            mask = pixels[..., 2] == number
            x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
            if min(w, h) * scale < LEAST:
                continue
            label = int(pixels[..., 0][mask][0] > 100)
            score = 0.3 + 0.6 * min(1, min(w, h) * scale / SIDE)
            item = dict(label=label, score=score, bbox=[float(v) for v in (x, y, w, h)])
            found.append(dict(item, segmentation=encoded(mask)))
        result.append(found)
    return result


def coco(height, width, objects, pixels):
    """The COCO file of the image."""
    annotations = [
        dict(
            id=number,
            image_id=1,
            category_id=label + 1,
            bbox=[x, y, w, h],
            segmentation=encoded(pixels[..., 2] == number),
            area=int((pixels[..., 2] == number).sum()),
            iscrowd=0,
        )
        for number, (label, x, y, w, h) in enumerate(objects, 1)
    ]
    return dict(
        images=[dict(id=1, file_name='a.png', height=height, width=width)],
        annotations=annotations,
        categories=[dict(id=1, name='block'), dict(id=2, name='ring')],
    )
