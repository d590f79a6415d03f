"""COCO AP of an exported file and of its PyTorch model on the same images."""

from dataclasses import dataclass
from pathlib import Path

from selnext_mm.datasets.coco_content import load_coco
from selnext_mm.errors import UserError
from selnext_mm.evaluation.coco_scores import run_coco_eval, scores_of
from selnext_mm.inference.categories import Ids, find_ids
from selnext_mm.inference.images import Images
from selnext_mm.inference.output import coco_content
from selnext_mm.inference.predictor import Predictor
from selnext_mm.runtime.models import Detector

LARGEST_DIFFERENCE = 0.1  # of AP in percent


@dataclass(frozen=True)
class ComparedAP:
    """AP in percent (IoU 0.50:0.95) of 'bbox' or 'segm': PyTorch's and the file's."""

    kind: str
    torch: float
    file: float

    @property
    def equal(self) -> bool:
        """Whether they differ by 0.1 or less."""
        return abs(self.torch - self.file) <= LARGEST_DIFFERENCE


def known_images(ids: Ids, names: list[str]) -> list[int]:
    """The image ids of ``names``; :class:`UserError` if the COCO file lacks some."""
    numbers, new = ids.number_images(names)
    if new:
        raise UserError(f'{new} of {len(names)} images are not in {ids.source}')
    return numbers


def coco_ap(truth: dict, records: list[dict], ids: Ids, kind: str) -> float:
    """AP in percent of ``records``, as ``predict`` returns them, on the images that they name.

    It is 0 if nothing was detected. ``truth`` is the content of a COCO file.
    """
    numbers = known_images(ids, [r['file'] for r in records])
    records = [dict(r, image_id=n) for r, n in zip(records, numbers, strict=True)]
    _, results = coco_content(records, ids)
    if not results:
        return 0.0
    named = set(numbers)
    seen = dict(truth, images=[i for i in truth['images'] if i['id'] in named])
    return 100 * (scores_of(run_coco_eval(seen, results, kind, None))['AP'] or 0.0)


def compare_ap(
    predictor: Predictor,
    detector: Detector,
    images: Images,
    annotations: str | Path,
) -> list[ComparedAP]:
    """AP of the model and of its file on the same images: of boxes and, with a mask head, of masks.

    Args:
        predictor: the model.
        detector: the file that ``selnext-mm export`` wrote of it.
        images: files, folders and globs of images, all of them listed in ``annotations``.
        annotations: COCO file with the ground truth.

    Raises:
        UserError: for images that cannot be read or are not in ``annotations``, and if PyTorch's
            AP is 0: an equal AP would then prove nothing about the file.
    """
    ids = find_ids(predictor.loaded.cfg, predictor.classes, annotations)
    truth = load_coco(annotations)
    both = [predictor(images), detector(images)]
    for record in both[0]:
        if 'error' in record:
            raise UserError(f'{record["path"]}: {record["error"]}')
    kinds = ['bbox', 'segm'] if 'mask_threshold' in detector.metadata else ['bbox']
    scores = [
        ComparedAP(kind, *(coco_ap(truth, records, ids, kind) for records in both))
        for kind in kinds
    ]
    for score in scores:
        if score.torch <= 0:
            raise UserError(
                f'the model has a {score.kind} AP of 0 on the {len(both[0])} images of '
                f'{annotations}, so the AP of the file says nothing; give annotations of the '
                'classes that the model was trained for'
            )
    return scores
