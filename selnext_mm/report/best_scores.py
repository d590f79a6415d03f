"""The threshold of each class with the largest F1, as a file for ``selnext-mm export``."""

from pathlib import Path

from selnext_mm import __version__
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError
from selnext_mm.inference.thresholds import rounded_down
from selnext_mm.report.work_dir import Run


def write_thresholds(path: str | Path, run: Run, parts: list[dict]) -> None:
    """Write the file of ``run`` that :mod:`selnext_mm.inference.thresholds` reads.

    It is computed from masks if the run has them, else from boxes, at an IoU of 0.5
    (``evaluation.coco_scores.best_f1``). Scores are rounded down to four digits. A class without
    objects, or without a right prediction, has null.

    Args:
        parts: the sections of a report about ``run`` alone.

    Raises:
        UserError: if there are no predictions to choose from.
    """
    found = [
        (part, kind) for part in parts for kind in ('segm', 'bbox') if part['scores'].get(kind)
    ]
    if not found:
        reasons = '; '.join([*run.notes, *(note for part in parts for note in part['notes'])])
        raise UserError(f'--thresholds {path}: there is nothing to choose from: {reasons}')
    part, kind = found[0]
    scores = part['scores'][kind][run.name]
    table = dict(zip(scores.classes, scores.per_class, strict=True))
    content = dict(
        thresholds={
            name: rounded_down(row['best score']) if row['F1'] else None
            for name, row in table.items()
        },
        F1={name: row['F1'] for name, row in table.items()},
        kind=kind,
        iou=0.5,
        annotations=part['annotations'],
        run=run.name,
        selnext_mm=__version__,
    )
    write_json(path, content)
