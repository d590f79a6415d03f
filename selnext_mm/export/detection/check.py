"""Compare the detections of an exported file with those of ``predict``, at several sizes."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as mask_utils

from selnext_mm.config.walk import tested_dataset
from selnext_mm.datasets.shape_scene import draw_scene
from selnext_mm.errors import UserError
from selnext_mm.export.detection.ties import answers
from selnext_mm.inference.images import ImageFile, Images, list_images, why_unreadable
from selnext_mm.inference.predictor import Predictor
from selnext_mm.runtime.models import Detector
from selnext_mm.text import counted

FACTORS = (1.0, 0.75, 0.5)  # of the size of the test pipeline
LOWEST_IOU = 0.99
PICTURES = 4
# (height, width) of the images that are drawn if there are no others.
DRAWN = ((240, 320), (320, 240), (256, 256), (300, 200))


@dataclass
class Agreement:
    """How well two lists of detections agree, over all images that were added.

    ``unmatched`` counts objects that only one list has. An object is counted in ``ties`` instead
    if a comparison of two nearly equal numbers explains it. ``iou``, ``score`` (a difference) and
    ``mask_iou`` are the worst of all pairs. ``differing`` names the images with unmatched objects.
    """

    factor: float = 1.0
    pictures: int = 0
    objects: int = 0
    unmatched: int = 0
    ties: int = 0
    iou: float = 1.0
    score: float = 0.0
    mask_iou: float | None = None
    differing: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether every object has a partner and no pair of masks has an IoU below 0.99."""
        return not self.unmatched and (self.mask_iou is None or self.mask_iou >= LOWEST_IOU)

    def add(
        self,
        wanted: list[dict],
        found: list[dict],
        tolerance: float,
        score_thr: float,
        limit: int,
        others: Iterable[list[dict]] = (),
    ) -> None:
        """Add the instances of one image.

        A pair has the same label, boxes with an IoU of 0.99 or more and scores that differ by
        ``tolerance`` or less. An object without a partner is a tie if

        - its score is at most ``tolerance`` above ``score_thr``: it may have been dropped;
        - the other list is full (``limit`` objects), and the object's score is at most
          ``tolerance`` above the lowest one there: it may have been cut off;
        - NMS was undecided. ``others`` (from ``ties.answers``) is what the model finds with
          slightly other thresholds: one of these lists has the object that only ``found`` has,
          or lacks the object that only ``wanted`` has.
        """
        self.pictures += 1
        self.objects += len(wanted)
        ious = _box_ious(wanted, found)
        pairs = _pairs(wanted, found, ious, tolerance)
        lonely = []  # (object, whether it is from ``wanted``)
        for own, other, k in ((wanted, found, 0), (found, wanted, 1)):
            last = min(i['score'] for i in other) if other and len(other) == limit else score_thr
            taken = {pair[k] for pair in pairs}
            alone = [item for i, item in enumerate(own) if i not in taken]
            for item in alone:
                if item['score'] <= max(last, score_thr) + tolerance:
                    self.ties += 1
                else:
                    lonely.append((item, k == 0))
        for other in others if lonely else ():
            there = [bool(_pairs([i], other, _box_ious([i], other), tolerance)) for i, _ in lonely]
            rest = [item for item, t in zip(lonely, there, strict=True) if t == item[1]]
            self.ties += len(lonely) - len(rest)
            lonely = rest
            if not lonely:
                break
        self.unmatched += len(lonely)
        for i, j in pairs:
            self.iou = min(self.iou, float(ious[i, j]))
            self.score = max(self.score, abs(found[j]['score'] - wanted[i]['score']))
            if 'segmentation' in wanted[i]:
                lowest = 1.0 if self.mask_iou is None else self.mask_iou
                self.mask_iou = min(lowest, _mask_iou(wanted[i], found[j]))


def _pairs(
    wanted: list[dict], found: list[dict], ious: np.ndarray, tolerance: float
) -> list[tuple[int, int]]:
    """Pairs (index in ``wanted``, index in ``found``) of the same object; each is used once."""
    free, pairs = list(range(len(found))), []
    for i, item in enumerate(wanted):
        partners = [
            j
            for j in free
            if found[j]['label'] == item['label']
            and ious[i, j] >= LOWEST_IOU
            and abs(found[j]['score'] - item['score']) <= tolerance
        ]
        if partners:
            j = max(partners, key=lambda j: ious[i, j])
            free.remove(j)
            pairs.append((i, j))
    return pairs


def _box_ious(a: list[dict], b: list[dict]) -> np.ndarray:
    """(len(a), len(b)); a box without an area has an IoU of 1 with itself."""
    if not a or not b:
        return np.zeros((len(a), len(b)))
    x, y = (np.array([i['bbox'] for i in items]) for items in (a, b))
    ious = np.asarray(mask_utils.iou(x, y, [0] * len(b)))
    same = np.abs(x[:, None] - y[None]).max(-1) < 1e-3
    return np.where(same, 1.0, ious)


def _mask_iou(a: dict, b: dict) -> float:
    a, b = a['segmentation'], b['segmentation']
    if not mask_utils.area(a) and not mask_utils.area(b):
        return 1.0
    return float(mask_utils.iou([a], [b], [0])[0, 0])


@contextlib.contextmanager
def scaled(predictor: Predictor, detector: Detector, factor: float) -> Iterator[None]:
    """Within the block, both resize images to ``factor`` times the size in their pipelines."""
    transforms = [t for t in predictor.prepare.transforms if getattr(t, 'scale', None)]
    before = [t.scale for t in transforms], detector.steps
    detector.steps = [
        {k: round(v * factor) if k in ('width', 'height') else v for k, v in step.items()}
        for step in detector.steps
    ]
    for transform in transforms:
        transform.scale = tuple(round(v * factor) for v in transform.scale)
    try:
        yield
    finally:
        detector.steps = before[1]
        for transform, scale in zip(transforms, before[0], strict=True):
            transform.scale = scale


def compare_detections(
    predictor: Predictor, detector: Detector, images: list[ImageFile], tolerance: float
) -> Iterator[Agreement]:
    """Run both on ``images`` at each size of :data:`FACTORS`; one :class:`Agreement` per size."""
    score_thr = float(detector.metadata['score_threshold'])
    limit = int(detector.metadata['max_detections'])
    paths = [image.path for image in images]
    for factor in FACTORS:
        result = Agreement(factor)
        with scaled(predictor, detector, factor):
            for path, wanted, found in zip(paths, predictor(paths), detector(paths), strict=True):
                lists = wanted['instances'], found['instances']
                before = result.unmatched
                result.add(*lists, tolerance, score_thr, limit, answers(predictor, path))
                if more := result.unmatched - before:
                    result.differing.append(f'{counted(more, "object")} of {path.name}')
        yield result


def _test_folder(cfg) -> Path | None:
    """The image folder of the config's test set; None if it does not exist."""
    dataset = tested_dataset(cfg)
    prefix = (dataset.get('data_prefix') or {}).get('img')
    folder = Path(dataset.get('data_root') or '', prefix or '')
    return folder if prefix and folder.is_dir() else None


def _drawn(folder: Path) -> list[ImageFile]:
    result = []
    for i, (height, width) in enumerate(DRAWN):
        path = folder / f'{i}.png'
        picture = draw_scene(0, 'val', i, max(height, width)).image
        Image.fromarray(picture[:height, :width]).save(path)
        result.append(ImageFile(path, path.name))
    return result


def given_pictures(given: Images, name: str = '--check-images') -> list[ImageFile]:
    """The images that an option names.

    Raises:
        UserError: if there are none, or one cannot be read.
    """
    images = list_images(given)
    for image in images:
        if reason := why_unreadable(image.path):
            raise UserError(f'{name} {image.path}: {reason}')
    return images


def check_pictures(cfg, given: Images | None, folder: Path) -> tuple[list[ImageFile], str]:
    """The images to compare on, and a description of them.

    They are those ``given``; else :data:`PICTURES` of the config's test set, evenly spaced; else
    drawn shapes, which are written to ``folder``.

    Raises:
        UserError: if a given image cannot be read.
    """
    if given:
        return given_pictures(given), 'as given'
    source = _test_folder(cfg)
    if source is not None:
        with contextlib.suppress(UserError):  # a folder without images
            images = list_images(source)
            images = images[:: max(1, len(images) // PICTURES)][:PICTURES]
            if not any(why_unreadable(i.path) for i in images):
                return images, f'of {source}'
    return _drawn(folder), 'of drawn shapes'
