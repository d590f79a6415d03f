"""The part of a report about errors: their kinds, calibration, and doubted labels."""

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from selnext_mm.datasets.pixels import read_rgb
from selnext_mm.evaluation.calibration import Calibration, calibration
from selnext_mm.evaluation.error_types import ERRORS, FALSE, UNFOUND, ErrorTypes, Outcomes
from selnext_mm.evaluation.error_types import error_types as analyse
from selnext_mm.evaluation.label_errors import Suspect, suspects
from selnext_mm.report.charts import COLOURS, chart, number

SIDE = 300  # pixels of the longer side of a doubted label's image
MARGIN = 0.6  # around the boxes of a doubted label, relative to their longer side
QUALITY = 80  # of the JPEG


def gains_chart(ident: str, runs: dict[str, ErrorTypes]) -> dict:
    """Bars: what fixing each kind of error would add to AP50."""
    data = [
        {
            'type': 'bar',
            'orientation': 'h',
            'name': name,
            'y': list(ERRORS),
            'x': [number(one.gains[kind]) for kind in ERRORS],
            'customdata': [one.counts[kind] for kind in ERRORS],
            'marker': {'color': colour},
            'hovertemplate': '%{y}: %{customdata} errors, +%{x:.3f} AP50<extra></extra>',
        }
        for (name, one), colour in zip(runs.items(), COLOURS * len(runs), strict=False)
    ]
    return chart(
        ident,
        'AP50 to gain by kind of error',
        data,
        'TIDE: gain if only the errors of this kind were fixed; gains do not add up',
        height=240 + 50 * len(runs),
        xaxis={'rangemode': 'tozero', 'title': {'text': 'gain of AP50'}},
        yaxis={'ticklabelstandoff': 6, 'autorange': 'reversed'},
        barmode='group',
        bargap=0.3,
    )


def calibration_chart(ident: str, runs: dict[str, Calibration], note: str) -> dict:
    """Share of right predictions over their score; calibrated scores are on the diagonal."""
    data: list[dict] = [
        {
            'type': 'scatter',
            'mode': 'lines',
            'name': 'calibrated',
            'x': [0, 1],
            'y': [0, 1],
            'line': {'color': '#8a919c', 'width': 1, 'dash': 'dash'},
            'hoverinfo': 'skip',
        }
    ]
    for (name, one), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
        there = np.flatnonzero(one.counts)
        data.append(
            {
                'type': 'scatter',
                'mode': 'lines+markers',
                'name': name,
                'x': [number(one.scores[b]) for b in there],
                'y': [number(one.shares[b]) for b in there],
                'customdata': [int(one.counts[b]) for b in there],
                'line': {'color': colour, 'width': 2},
                'marker': {'size': 7},
                'hovertemplate': '%{y:.0%} of %{customdata} right',
            }
        )
    return chart(
        ident,
        'Calibration of the scores',
        data,
        note,
        height=320,
        xaxis={'range': [0, 1], 'title': {'text': 'mean score in bins of 0.1'}},
        yaxis={'range': [0, 1.02], 'title': {'text': 'share of right predictions'}},
    )


def calibration_note(runs: dict[str, Calibration], of: str) -> str:
    """The expected calibration error of each run in words."""
    values = [
        f'{name} {one.error:.3f}' if len(runs) > 1 else f'{one.error:.3f}'
        for name, one in runs.items()
        if one.error is not None
    ]
    return f'expected calibration error {", ".join(values) or "none"}; {of}'


def error_part(runs: dict[str, Outcomes], ident: str, score_thr: float) -> dict:
    """Charts and tables of the kinds of error of each run.

    Args:
        runs: name -> the outcomes of its predictions.
        ident: end of the charts' ids.
        score_thr: calibration leaves out predictions below it.
    """
    analyses = {name: analyse(o) for name, o in runs.items()}
    totals = {
        name: {FALSE: int((~o.right).sum()), UNFOUND: int((~o.matched).sum())}
        for name, o in runs.items()
    }
    sure = {name: o.score >= score_thr for name, o in runs.items()}
    scores = {n: calibration(o.score[sure[n]], o.right[sure[n]]) for n, o in runs.items()}
    of = f'predictions with score \u2265 {score_thr:g}, right at IoU \u2265 0.5'
    many = len(runs) > 1
    head, rows = ['kind of error'], []
    for name in runs:
        head += [f'{name}: errors' if many else 'errors', f'{name}: gain' if many else 'gain']
    for kind in (*ERRORS, FALSE, UNFOUND):
        row: list = [kind]
        for name, one in analyses.items():
            row += [(one.counts | totals[name])[kind], number(one.gains[kind])]
        rows.append(row)
    by_class = []
    for name, one in analyses.items():
        table = [
            [c, *row.values()]
            for c, row in zip(one.classes, one.per_class, strict=True)
            if any(row.values())
        ]
        title = f'Errors of {name} by class' if many else 'Errors by class'
        by_class.append({'title': title, 'head': ['class', *ERRORS], 'rows': table})
    return {
        'charts': [
            gains_chart(f'errors-{ident}', analyses),
            calibration_chart(f'calibration-{ident}', scores, calibration_note(scores, of)),
        ],
        'table': {'head': head, 'rows': rows},
        'by_class': [table for table in by_class if table['rows']],
    }


def _crop(path: Path, record: dict, boxes: list[list[float]]) -> tuple[str, tuple, tuple, float]:
    """(data URL, its size, (left, top) in the image, scale) of the crop around ``boxes``."""
    picture = Image.fromarray(read_rgb(path))
    if picture.size != (record['width'], record['height']):
        raise OSError(f'it does not have the size that its annotations say: {picture.size}')
    x0, y0 = (min(b[i] for b in boxes) for i in (0, 1))
    x1, y1 = (max(b[i] + b[i + 2] for b in boxes) for i in (0, 1))
    margin = max(MARGIN * max(x1 - x0, y1 - y0), 24)
    ends = np.array([x0 - margin, y0 - margin, x1 + margin + 1, y1 + margin + 1])
    left, top, right, bottom = map(int, ends.clip(0, [*picture.size, *picture.size]))
    part = picture.crop((left, top, max(right, left + 1), max(bottom, top + 1)))
    small = ImageOps.contain(part, (SIDE, SIDE), Image.Resampling.LANCZOS)
    data = io.BytesIO()
    small.save(data, 'JPEG', quality=QUALITY, optimize=True)
    text = base64.b64encode(data.getvalue()).decode()
    scale = small.width / part.width
    return f'data:image/jpeg;base64,{text}', small.size, (left, top), scale


def _words(one: Suspect, names: dict) -> str:
    said = f'{names[one.prediction["category_id"]]} {one.prediction["score"]:.2f}'
    if one.label is None:
        return f'predicted {said}, no label'
    if one.kind == 'another place':
        return f'predicted {said}, the label is elsewhere'
    return f'predicted {said}, labelled {names[one.label["category_id"]]}'


def doubted_labels(
    content: dict, images: Path | None, o: Outcomes, num: int, least: float
) -> tuple[list[dict], list[str]]:
    """(cards of the labels most likely wrong, images that could not be read).

    Args:
        content: a COCO instances file.
        images: folder of its images; None gives cards without images.
        o, num, least: see :func:`~selnext_mm.evaluation.label_errors.suspects`.
    """
    names = {c['id']: c['name'] for c in content['categories']}
    records = {r['id']: r for r in content['images']}
    cards, unread = [], []
    for one in suspects(o, num, least):
        record = records[one.prediction['image_id']]
        boxes = [list(map(float, x['bbox'])) for x in (one.prediction, one.label) if x]
        card: dict = {
            'file': record['file_name'],
            'words': _words(one, names),
            'suspicion': one.suspicion,
            'at': ', '.join(f'{v:.0f}' for v in boxes[-1]),
            'src': None,
        }
        if images is not None:
            try:
                source, size, corner, scale = _crop(images / record['file_name'], record, boxes)
            except OSError as error:
                unread.append(f'{record["file_name"]}: {getattr(error, "strerror", None) or error}')
                cards.append(card)
                continue
            card |= {'src': source, 'size': size}
            card['boxes'] = [
                [round((b[i] - (corner[i] if i < 2 else 0)) * scale, 1) for i in range(4)]
                for b in boxes
            ]
        cards.append(card)
    return cards, unread
