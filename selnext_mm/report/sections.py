"""The sections of a report that need predictions: one for every annotation file."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selnext_mm.datasets.check.drawn import check_masks
from selnext_mm.evaluation import coco_scores, matching
from selnext_mm.evaluation.error_types import Outcomes, outcomes
from selnext_mm.report import charts, errors, gallery
from selnext_mm.report.comparison import comparison
from selnext_mm.report.work_dir import (
    Run,
    annotations_of,
    find_path,
    find_predictions,
    prediction_files,
)
from selnext_mm.visualization.draw import class_colours
from selnext_mm.visualization.panel import load_annotations, load_results

KINDS = {'segm': 'masks', 'bbox': 'boxes'}
BELIEVED = 0.5  # lowest score of a prediction that may cast doubt on a label


@dataclass
class Tested:
    """A run with predictions and the corresponding annotations."""

    run: Run
    files: dict[str, Path]
    annotations: Path
    images: Path | None
    classes: list[str] | None


def tested_on(prefix: Path, run: Run) -> Path | None:
    """The annotation file that the test's FILE.json names; None if there is none."""
    name = prefix.name.removesuffix('.json').removesuffix('.bbox').removesuffix('.segm')
    try:
        content = json.loads(prefix.with_name(f'{name}.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    named = content.get('annotations') if isinstance(content, dict) else None
    return find_path(named, run.folder) if isinstance(named, str) else None


def find_tested(
    run: Run, predictions: Path | None, annotations: Path | None, images: Path | None
) -> Tested | None:
    """The predictions of a run and what belongs to them; None, and a note, if there are none."""
    prefix = predictions or find_predictions(run)
    named, folder, classes = annotations_of(run)
    if prefix is not None:
        named = tested_on(prefix, run) or named
    named, folder = annotations or named, images or folder
    if prefix is None:
        if run.config is not None and run.config.get('default_scope') == 'mmpretrain':
            run.notes.append(
                'no predictions of the classifier: confusion matrix and images are left out. Write '
                'them with "selnext-mm test CONFIG CHECKPOINT --out FILE.json" into this folder, '
                'or give --predictions FILE.json'
            )
            return None
        if run.config is not None and run.config.get('default_scope') == 'mmseg':
            run.notes.append('this is a segmentor: the IoU of each class is in the log of the run')
            return None
        run.notes.append(
            'no predictions: AP of each class, curves, confusion matrix and gallery are left out. '
            'Write them with "selnext-mm test CONFIG CHECKPOINT --out FILE.json", then give '
            '--predictions FILE.json, or write FILE.json into this folder'
        )
        return None
    if named is None:
        run.notes.append(
            'the annotation file of the predictions was not found; give it with --ann FILE '
            '(and the folder of the images with --images DIR)'
        )
        return None
    return Tested(run, prediction_files(prefix), named, folder, classes)


COLUMNS = ('AP', 'AP50', 'AP75', 'AR', 'F1', 'best score')


def _table(scores: dict[str, coco_scores.Scores]) -> dict:
    """Head and rows of the table of classes; numbers stay numbers so that it can be sorted."""
    first = next(iter(scores.values()))
    many = len(scores) > 1
    head = ['class', 'objects']
    for name in scores:
        head += [f'{name}: {m}' if many else m for m in COLUMNS]
    rows = []
    for k, name in enumerate(first.classes):
        row = [name, first.counts[k]]
        for other in scores.values():
            values = dict(zip(other.classes, other.per_class, strict=True)).get(name, {})
            row += [charts.number(values.get(m)) for m in COLUMNS]
        rows.append(row)
    return {'head': head, 'rows': rows}


def section(
    number: int, tested: list[Tested], num: int, score_thr: float, say: Callable[[str], None]
) -> dict:
    """Charts, table and gallery of the runs that were tested on one annotation file."""
    path = tested[0].annotations
    content = coco_scores.complete(load_annotations(path))
    classes = tested[0].classes
    ids = coco_scores.category_ids(content, classes)
    results: dict[str, dict[str, list]] = {kind: {} for kind in KINDS}
    for one in tested:
        for kind, file in one.files.items():
            # An empty list is a result: the model found nothing.
            empty = file.read_bytes().strip() == b'[]'
            found = [] if empty else load_results(file, content, masks=kind == 'segm')
            results[kind][one.run.name] = found
    if any(results['segm'].values()):
        check_masks(content, ids, path)
    out: dict = {'id': f'set-{number}', 'annotations': str(path), 'kinds': [], 'notes': []}
    out['scores'] = {}
    out['count'] = f'{len(content["images"])} images'
    judged: dict[str, dict[str, Outcomes]] = {}
    for kind, runs in results.items():
        runs = {n: r for n, r in runs.items() if r}
        if not runs:
            continue
        scores, judged[kind] = {}, {}
        for name, found in runs.items():
            say(f'COCO evaluation of the {KINDS[kind]} of {name}: {len(found)} predictions')
            run = coco_scores.run_coco_eval(content, found, kind, classes)
            scores[name], judged[kind][name] = coco_scores.read_scores(run), outcomes(run)
        out['scores'][kind] = scores
        summary = [
            (name, [charts.number(v) for v in s.summary.values()]) for name, s in scores.items()
        ]
        figures = [
            charts.sizes(scores, coco_scores.size_counts(content, classes)),
            charts.precision_recall(scores),
            charts.per_class(scores),
        ]
        for figure in figures:
            figure['id'] += f'-{number}'
        out['kinds'].append(
            {
                'kind': kind,
                'title': KINDS[kind],
                'head': list(next(iter(scores.values())).summary),
                'summary': summary,
                'charts': figures,
                'table': _table(scores),
                'errors': errors.error_part(judged[kind], f'{kind}-{number}', score_thr),
            }
        )
    for one in tested:
        if not any(results[kind].get(one.run.name) for kind in KINDS):
            out['notes'].append(
                f'{one.run.name}: the predictions are empty: the model found nothing'
            )
    kind = 'segm' if any(results['segm'].values()) else 'bbox'
    shown = [t for t in tested if t.run.name in results[kind]]
    say(f'matching of predictions and objects ({KINDS[kind]})')
    matches = [
        matching.match_all(content, results[kind][t.run.name], kind, classes, score_thr)
        for t in shown
    ]
    note = f'counts; {KINDS[kind]} with score \u2265 {score_thr:g} and IoU \u2265 0.5'
    out['confusion'] = [
        charts.confusion(
            t.run.name if len(shown) > 1 else 'Confusion matrix',
            f'confusion-{number}-{i}',
            *matching.confusion(content, match, classes),
            note,
        )
        for i, (t, match) in enumerate(zip(shown, matches, strict=True))
    ]
    files = {i['id']: i['file_name'] for i in content['images']}
    out['comparisons'] = comparison([t.run.name for t in shown], matches, files)
    out['gallery'] = None
    images = next((t.images for t in shown if t.images and t.images.is_dir()), None)
    if images is None:
        out['notes'].append('the images were not found; give their folder with --images DIR')
    out['doubted'], unread = [], []
    for name, o in judged.get(kind, {}).items():
        cards, missing = errors.doubted_labels(content, images, o, num, max(score_thr, BELIEVED))
        if cards:
            out['doubted'].append({'name': name, 'cards': cards})
        unread += missing
    if images is not None and shown:
        say(f'images from {images}')
        entries, missing = gallery.build(content, images, matches, ids, num)
        if unread := list(dict.fromkeys([*missing, *unread])):
            more = f' and {len(unread) - 3} more' if len(unread) > 3 else ''
            out['notes'].append('left out: ' + '; '.join(unread[:3]) + more)
        names = {c['id']: c['name'] for c in content['categories']}
        colours = class_colours(content['categories'])
        out['gallery'] = {
            'runs': [t.run.name for t in shown],
            'classes': [names[i] for i in ids],
            'colours': ['#{:02x}{:02x}{:02x}'.format(*colours[i]) for i in ids],
            'threshold': score_thr,
            'entries': entries,
        }
    return out
