"""Check that a COCO file and COCO results can be scored and drawn, with one message if not."""

import os
from collections.abc import Callable, Iterable

from selnext_mm.datasets.check.images import is_size
from selnext_mm.datasets.check.masks import FATAL, finite, judge_mask
from selnext_mm.datasets.coco_content import (
    drawable,
    for_scoring,
    is_id,
    plain_segmentation,
)
from selnext_mm.errors import UserError
from selnext_mm.text import short

KEYS = ('image_id', 'category_id', 'bbox', 'score')


def is_box(value) -> bool:
    return isinstance(value, list) and len(value) == 4 and finite(value)


def mask_of(segmentation, width: int, height: int) -> list | dict | None:
    """``segmentation`` in a form that can be drawn over its image; None if that is impossible."""
    state, _ = judge_mask(segmentation, width, height, deep=False)
    return None if state == FATAL else drawable(segmentation)


def _stop_at(records: list, fits: Callable, what: str, path: str | os.PathLike) -> None:
    bad = [r for r in records if not fits(r)]
    if bad:
        raise UserError(
            f'{path}: {len(bad)} of {len(records)} {what}: {short(bad[0], 100)}. Fix or remove '
            'them; "selnext-mm check-data" shows all'
        )


def check_drawn(content: dict, path: str | os.PathLike) -> None:
    """Keep in ``content``, in place, only what a training would use, with ids from 1.

    Objects that are marked ignore and have no box are left out. A mask that cannot be drawn is
    removed from its object, which keeps its box: a model without masks can be trained on it.

    Args:
        content: a COCO file whose images and categories can be told apart by their ids.
        path: for messages.

    Raises:
        UserError: for images without a size, and annotations without a valid id, flag, box or
        area.
    """
    _stop_at(
        content['images'],
        lambda r: is_size([r.get('width'), r.get('height')]),
        'images are without a width and height above 0 in whole pixels',
        path,
    )
    for_scoring(content, path)
    for key in ('iscrowd', 'ignore'):
        what = f'annotations have an {key} that is not 0 or 1'
        _stop_at(content['annotations'], lambda a, key=key: a.get(key, 0) in (0, 1), what, path)
    annotations = content['annotations'] = [
        a for a in content['annotations'] if not a.get('ignore') or is_box(a.get('bbox'))
    ]
    what = 'annotations are without a bbox of four finite numbers'
    _stop_at(annotations, lambda a: is_box(a.get('bbox')), what, path)
    what = 'annotations are without a finite area'
    _stop_at(annotations, lambda a: finite([a.get('area')]), what, path)
    sizes = {r['id']: (r['width'], r['height']) for r in content['images']}
    for a in annotations:
        if mask_of(a.get('segmentation'), *sizes[a['image_id']]) is None:
            a.pop('segmentation', None)


def check_masks(content: dict, categories: Iterable, path: str | os.PathLike) -> None:
    """Raise :class:`UserError` if an object of ``categories`` has no mask to compare with."""
    wanted = set(categories)
    of = [a for a in content['annotations'] if a['category_id'] in wanted]
    what = 'annotations are without a mask that can be compared with the predicted masks'
    _stop_at(of, lambda a: 'segmentation' in a, what, path)


def check_results(
    results: list, content: dict, path: str | os.PathLike, masks: bool = False
) -> None:
    """Raise :class:`UserError` for invalid predictions, or predictions for other annotations.

    Masks with too few points to be drawn are replaced, in place, by empty masks.

    Args:
        results: the content of a COCO results file.
        content: a COCO file that :func:`check_drawn` has passed.
        path: for messages.
        masks: every prediction needs a mask.
    """
    sizes = {r['id']: (r['width'], r['height']) for r in content['images']}
    categories = {c['id'] for c in content['categories']}
    for r in results:
        missing = [k for k in KEYS if not isinstance(r, dict) or k not in r]
        if missing:
            raise UserError(f'a prediction in {path} lacks {", ".join(missing)}: {short(r, 80)}')
        for key, known in (('image_id', sizes), ('category_id', categories)):
            if not is_id(r[key]) or r[key] not in known:
                raise UserError(
                    f'{path} has {key} {short(r[key], 40)}, which the annotations lack; give the '
                    'annotations that the model was tested on'
                )
        state, reason = '', ''
        if masks or r.get('segmentation') is not None:
            r['segmentation'] = plain_segmentation(r.get('segmentation'))
            state, reason = judge_mask(r['segmentation'], *sizes[r['image_id']], deep=False)
            r['segmentation'] = drawable(r['segmentation'])
        wrong = [
            *([] if is_box(r['bbox']) else ['no bbox of four finite numbers']),
            *([] if finite([r['score']]) else ['no finite score']),
            *([reason] if state == FATAL else []),
        ]
        if wrong:
            raise UserError(
                f'a prediction in {path} has {" and ".join(wrong)}: {short(r, 80)}. Write the '
                'predictions again, with "selnext-mm test --out FILE.json"'
            )
