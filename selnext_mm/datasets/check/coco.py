"""Checks of a COCO file: everything that mmdet would drop, mislabel or stop at.

The rules are those of mmdet's ``CocoDataset``: it silently leaves out annotations that
are marked ``ignore``, lie outside their image, are under a pixel wide or high, have no area, or
belong to a category that the config does not name.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence

from selnext_mm.datasets.check.categories import check_categories
from selnext_mm.datasets.check.findings import SHOWN, Report
from selnext_mm.datasets.check.images import check_image_records, has_id
from selnext_mm.datasets.check.masks import FATAL, FINE, finite, judge_mask
from selnext_mm.datasets.coco_content import is_id, normalise
from selnext_mm.text import preview, short

TOO_MANY = 0.5  # share of unusable annotations from which on a run is ruined
CROWDED = 0.1  # share of iscrowd from which on it is reported; COCO has 1.2 %
TOLERANCE = 1.0  # pixels that a box may exceed the image; COCO's boxes do by fractions
ENOUGH = 5  # number of boxes from which on a pattern in them is reported
UNSCORED = 'test_evaluator.format_only=True test_evaluator.outfile_prefix=DIR/NAME'


def check_coco(
    content: dict,
    classes: Sequence[str],
    name: str = 'data set',
    source: str = '',
    with_mask: bool = False,
    deep: bool = True,
    min_size: float = 0,
    labelled: bool = True,
    scored: bool = False,
) -> Report:
    """Check a COCO file that :func:`read_coco` has read; never raises for its content.

    Args:
        content: the file's content.
        classes: the class names of the config.
        name, source: for the report.
        with_mask: the pipeline loads masks, so every used annotation needs a segmentation.
        deep: also check the area and position of every polygon.
        min_size: images with a shorter side are left out (mmdet's ``filter_cfg``).
        labelled: False for a test set whose predictions are only written.
        scored: predictions are evaluated against it. pycocotools reads boxes and masks of all
        objects of a class, including those that training leaves out.
    """
    report = Report(name, str(source))
    changes = normalise(content)
    used_categories = check_categories(report, content['categories'], classes)
    known = {c['id'] for c in content['categories'] if has_id(c)}
    images = check_image_records(report, content['images'])
    small = {key for key, (*size, _) in images.items() if min(size) < min_size}
    _small_images(report, len(small), min_size)
    checker = _Annotations(report, images, known, used_categories, with_mask, deep, small, scored)
    for annotation in content['annotations']:
        checker.take(annotation)
    if labelled:
        checker.finish(classes)
    for text, n in changes.items():
        report.add('note', 'form', f'{n} times {text}', 'It is read so everywhere', count=n)
    return report


def _small_images(report: Report, count: int, min_size: float) -> None:
    if count:
        report.add(
            'error' if count == report.images else 'warn',
            'filter',
            f'{count} of {report.images} images have a side under filter_cfg.min_size={min_size:g} '
            'and are left out of the training',
            'Set filter_cfg.min_size of the training set to 0 to keep them',
            count=count,
        )


class _Annotations:
    """One pass over the annotations: counts by reason, with the first few as examples."""

    def __init__(self, report, images, known, categories, with_mask, deep, small, scored) -> None:
        self.report, self.images, self.known = report, images, known
        self.categories, self.with_mask, self.deep = categories, with_mask, deep
        self.small, self.scored = small, scored
        self.counts: Counter = Counter()
        self.examples: dict[str, list[str]] = defaultdict(list)
        self.ids: set = set()
        self.per_class: Counter = Counter()
        self.images_of: dict[str, set] = defaultdict(set)
        self.boxed = self.crowds = 0
        self.as_corners = self.normalised = self.out = 0
        self.masks: dict[tuple[str, str], int] = Counter()

    def note(self, reason: str, annotation) -> None:
        self.counts[reason] += 1
        if len(self.examples[reason]) < SHOWN:
            key = annotation.get('id') if isinstance(annotation, dict) else annotation
            self.examples[reason].append(f'annotation {short(key, 40)}')

    def take(self, a) -> None:
        self.report.objects += 1
        if not isinstance(a, dict):
            self.note('record', a)
            return
        key = a.get('id')
        if not is_id(key):
            self.note('record', a)
            return
        if key in self.ids:
            self.note('id', a)
        self.ids.add(key)
        image, category = a.get('image_id'), a.get('category_id')
        if not is_id(image) or image not in self.images:
            self.note('image_id', a)
            return
        if not is_id(category) or category not in self.known:
            self.note('category_id', a)
            return
        if a.get('iscrowd') not in (0, 1) or a.get('ignore', 0) not in (0, 1):
            self.note('flag', a)
            return
        if a.get('ignore'):
            self.note('ignore', a)
            if not self.scored:
                return
        elif image in self.small:
            self.counts['small image'] += 1
            return
        box, area = a.get('bbox'), a.get('area')
        if not isinstance(box, list) or len(box) != 4 or not finite(box):
            self.note('bbox', a)
            return
        if not finite([area]):
            self.note('area', a)
            return
        usable = not a.get('ignore') and self._fits(box, area, a, *self.images[image][:2])
        if category not in self.categories:
            self.counts['other class'] += usable
        elif (usable or self.scored) and self._has_mask(a, image) and usable:
            self._use(a, image, category)

    def _fits(self, box: list, area: float, a: dict, width: float, height: float) -> bool:
        x, y, w, h = box
        self.boxed += 1
        self.normalised += x + w <= 1.5 and y + h <= 1.5
        sticks_out = x < -TOLERANCE or y < -TOLERANCE
        sticks_out |= x + w > width + TOLERANCE or y + h > height + TOLERANCE
        self.out += sticks_out
        self.as_corners += x < w <= width + TOLERANCE and y < h <= height + TOLERANCE
        inside = max(0, min(x + w, width) - max(x, 0)) * max(0, min(y + h, height) - max(y, 0))
        if w < 1 or h < 1:
            self.note('small', a)
        elif inside == 0:
            self.note('outside', a)
        elif area <= 0:
            self.note('no area', a)
        else:
            if sticks_out:
                self.note('sticks out', a)
            return True
        return False

    def _has_mask(self, a: dict, image) -> bool:
        if not self.with_mask:
            return True
        width, height, _ = self.images[image]
        state, reason = judge_mask(a.get('segmentation'), width, height, self.deep)
        if reason:
            self.masks[state, reason] += 1
            if len(self.examples[reason]) < SHOWN:
                self.examples[reason].append(f'annotation {short(a["id"], 40)}')
        return state == FINE

    def _use(self, a: dict, image, category) -> None:
        if a.get('iscrowd'):
            self.crowds += 1
            return
        name = self.categories[category]
        self.report.used += 1
        self.per_class[name] += 1
        self.images_of[name].add(image)

    def finish(self, classes: Sequence[str]) -> None:
        """Turn the counts into findings."""
        self._broken()
        if 0 in self.ids:
            self.report.add(
                'note',
                'ids',
                'annotation ids count from 0, which evaluations take for "no match"',
                'For scoring, annotations are numbered from 1 in memory',
            )
        self._lost()
        self._box_format()
        self._masks()
        report = self.report
        report.classes = {n: [self.per_class[n], len(self.images_of[n])] for n in classes}
        usable = report.used + self.crowds
        if self.crowds:
            many = 'warn' if self.crowds >= CROWDED * usable else 'note'
            level = many if report.used else 'error'
            report.add(
                level,
                'iscrowd',
                f'{self.crowds} of {usable} annotations ({self.crowds / usable:.0%}) are marked '
                'iscrowd',
                'mmdet does not learn from crowds; set iscrowd to 0 for single objects',
                count=self.crowds,
            )
        if report.objects and not report.used and not report.errors:
            reasons = [f for f in report.findings if f.level == 'warn' or f.check == 'annotations']
            most = max(reasons, key=lambda f: f.count, default=None)
            remedy = f'Above all: {most.sentence()}' if most else ''
            report.add('error', 'annotations', 'no annotation is usable', remedy)
        if not report.objects:
            text, remedy = 'the file has no annotations', 'Export the labels'
            if report.name.startswith('test'):
                remedy += f', or have the predictions written without a score: {UNSCORED}'
            report.add('error', 'annotations', text, remedy)
        empty = [n for n in classes if not self.per_class[n]]
        if report.used and empty:
            report.add(
                'warn',
                'classes',
                f'classes without a usable annotation: {preview(empty, 8)}',
                count=len(empty),
            )
        with_objects = set().union(*self.images_of.values()) if self.images_of else set()
        if bare := len(self.images) - len(with_objects):
            report.add(
                'note',
                'images',
                f'{bare} of {report.images} images have no usable annotation',
                count=bare,
            )

    def _found(self, level: str, check: str, reason: str, text: str, remedy: str) -> None:
        if n := self.counts[reason]:
            text = f'{n} of {self.report.objects} annotations {text}'
            self.report.add(level, check, text, remedy, self.examples[reason], count=n)

    def _broken(self) -> None:
        ending = 'mmdet stops at them; fix or remove them'
        self._found('error', 'annotations', 'record', 'are no record with an id', ending)
        self._found(
            'error', 'annotations', 'id', 'repeat an id', 'Number the annotations; mmdet stops here'
        )
        self._found('error', 'annotations', 'flag', 'have an iscrowd or ignore not 0 or 1', ending)
        self._found('error', 'boxes', 'bbox', 'have no bbox of four finite numbers', ending)
        self._found(
            'error', 'boxes', 'area', 'have no finite area', 'mmdet needs it; bbox width x height'
        )
        for reason, known in (('image_id', self.images), ('category_id', self.known)):
            n = self.counts[reason]
            level = 'error' if n > TOO_MANY * self.report.objects else 'warn'
            kinds = {type(key).__name__ for key in known}
            remedy = f'They are left out; the ids of the file are of type {"/".join(sorted(kinds))}'
            self._found(
                level, reason, reason, f'have a {reason} that the file does not list', remedy
            )

    def _lost(self) -> None:
        texts = {
            'small': 'have a box under one pixel wide or high',
            'outside': 'have a box outside the image',
            'no area': 'have an area of 0 or less',
        }
        lost = sum(self.counts[reason] for reason in texts)
        level = 'error' if lost > TOO_MANY * max(1, self.boxed) else 'warn'
        for reason, text in texts.items():
            self._found(level, 'boxes', reason, text, 'mmdet leaves them out')
        self._found('warn', 'boxes', 'sticks out', 'stick out of their image', 'Clip the boxes')
        self._found('note', 'annotations', 'ignore', 'are marked ignore', 'mmdet leaves them out')

    def _box_format(self) -> None:
        report, n = self.report, self.boxed
        if n < ENOUGH:
            return
        if self.normalised == n:
            report.add(
                'error',
                'boxes',
                f'all {n} boxes lie within 0 to 1: they look like fractions of the image',
                'COCO boxes are x, y, width, height in pixels',
                count=n,
            )
        elif self.as_corners == n and self.out > CROWDED * n:
            report.add(
                'error',
                'boxes',
                f'{self.out} of {n} boxes stick out of their images, and all fit if they are read '
                'as two corners x1, y1, x2, y2',
                'COCO boxes are x, y, width, height',
                count=self.out,
            )

    def _masks(self) -> None:
        for (state, reason), n in self.masks.items():
            none = reason == 'no segmentation'
            remedy = 'mmdet stops at them' if state == FATAL else 'mmdet ignores them'
            if state == FINE:
                remedy = 'They teach empty masks' if reason.startswith('polygons') else ''
            if none:
                remedy += '; box-only data needs a model without masks, as in configs/faster_rcnn, '
                remedy += 'configs/retinanet and configs/cascade_rcnn'
            level = 'error' if state == FATAL else 'warn'
            text = f'{n} of {self.report.objects} annotations have {reason}'
            self.report.add(level, 'masks', text, remedy, self.examples[reason], count=n)
