"""The charts of a report, as Plotly figures (plain dicts, drawn by the page's script)."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from selnext_mm.evaluation.coco_scores import SIZES, Scores
from selnext_mm.report.work_dir import Run

# Colour-blind readers can tell these apart, on white and on black.
COLOURS = ('#3b82d6', '#e4793a', '#1fa37a', '#a566c9', '#d6526f', '#0fa3b5', '#b08d1f', '#7d8794')
MAIN_METRICS = ('bbox_mAP', 'segm_mAP', 'mIoU', 'top1', 'top5', 'f1-score')
CLASS_AP = '_precision'  # end of the keys that CocoMetric(classwise=True) writes
POINTS = 2000  # of a curve; more are thinned out
FEW = 15  # up to this many classes, counts are written into the confusion matrix
DASHES = ('solid', 'dash', 'dot', 'dashdot')


def number(value) -> float | None:
    """``value`` as a float for JSON, to six digits; None for NaN, infinity and non-numbers."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        return None
    return float(f'{value:.6g}') if math.isfinite(value) else None


def chart(
    ident: str, title: str, data: list[dict], note: str = '', height: int = 300, **layout
) -> dict:
    """One figure; ``layout`` is Plotly's, the page adds colours and fonts."""
    return {
        'id': ident,
        'title': title,
        'note': note,
        'height': height,
        'data': data,
        'layout': layout,
    }


def _line(run: str, colour: str, x: list, y: list, **more) -> dict:
    mode = 'lines+markers' if len(x) < 40 else 'lines'
    trace = {'type': 'scatter', 'mode': mode, 'name': run, 'x': x, 'y': y}
    return {**trace, 'line': {'color': colour, 'width': 2}, 'marker': {'size': 5}, **more}


def _series(rows: list[dict], x: str, y: str) -> tuple[list, list]:
    pairs = [(row[x], number(row[y])) for row in rows if y in row]
    pairs = pairs[:: -(-len(pairs) // POINTS) or 1]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def _keys(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(k for row in rows for k in row))


def _over_iterations(runs: list[Run], key: str, ident: str, title: str, axis: dict, **more) -> dict:
    data = []
    for run, colour in zip(runs, COLOURS * len(runs), strict=False):
        x, y = _series(run.train, 'iter', key)
        if x:
            data.append(_line(run.name, colour, x, y))
    return chart(ident, title, data, xaxis={'title': {'text': 'iteration'}}, yaxis=axis, **more)


def training(runs: list[Run]) -> list[dict]:
    """Loss and learning rate over the iterations."""
    keys = _keys([row for run in runs for row in run.train[:1] + run.train[-1:]])
    charts = []
    if 'loss' in keys:
        charts.append(_over_iterations(runs, 'loss', 'loss', 'Loss', {'rangemode': 'tozero'}))
    if 'lr' in keys:
        axis = {'exponentformat': 'e', 'rangemode': 'tozero'}
        charts.append(_over_iterations(runs, 'lr', 'lr', 'Learning rate', axis))
    return [c for c in charts if c['data']]


def training_details(runs: list[Run]) -> list[dict]:
    """Small charts: each part of the loss, gradient norm, time of an iteration, memory."""
    keys = _keys([row for run in runs for row in run.train[:1] + run.train[-1:]])
    titles = {
        'grad_norm': 'Gradient norm',
        'time': 'Seconds per iteration',
        'memory': 'Memory (MB)',
    }
    parts = [k for k in keys if 'loss' in k and k != 'loss']
    charts = []
    for key in [*parts, *(k for k in titles if k in keys)]:
        # The first gradients may be a million times the later ones.
        axis = {'type': 'log'} if key == 'grad_norm' else {'rangemode': 'tozero'}
        ident = 'part-' + ''.join(c if c.isalnum() else '-' for c in key)
        charts.append(_over_iterations(runs, key, ident, titles.get(key, key), axis, height=210))
    # A run on a CPU reports no memory.
    return [c for c in charts if any(v for d in c['data'] for v in d['y'])]


def main_metrics(keys: Sequence[str]) -> list[str]:
    """The keys that end in a well-known metric; all keys if none does."""
    chosen = [k for name in MAIN_METRICS for k in keys if k.endswith(name)]
    return chosen or list(keys)


def metric_keys(runs: Sequence[Run]) -> list[str]:
    """The metrics of the validation rows, in their order, without the AP of single classes."""
    skip = ('step', 'time', 'data_time')
    keys = _keys([row for run in runs for row in run.val])
    return [k for k in keys if k not in skip and not k.endswith(CLASS_AP)]


def validation(runs: list[Run]) -> list[dict]:
    """The main metrics over the epochs, and a small chart for each of the others.

    Empty if no run was validated twice: a table shows that better.
    """
    if all(len(run.val) < 2 for run in runs):
        return []
    keys = metric_keys(runs)
    main = main_metrics(keys)
    unit = 'epoch' if all(r.by_epoch for r in runs) else 'iteration'
    axis: dict[str, Any] = {'title': {'text': unit}}
    if max(row['step'] for run in runs for row in run.val) <= 16:
        axis['dtick'] = 1
    data = []
    for run, colour in zip(runs, COLOURS * len(runs), strict=False):
        for key, dash in zip(main, DASHES * len(main), strict=False):
            x, y = _series(run.val, 'step', key)
            label = key.split('/')[-1]
            name = label if len(runs) == 1 else f'{run.name}: {label}'
            if any(v is not None for v in y):
                line = {'color': colour, 'width': 2, 'dash': dash}
                data.append(_line(name, colour, x, y, line=line))
    if not data:
        return []
    noun = 'AP' if any('mAP' in k for k in main) else 'Metrics'
    # A single line has no legend, so the title names it.
    noun = main[0].split('/')[-1] if len(main) == 1 else noun
    title = f'{noun} over {unit}s'
    charts = [chart('metrics', title, data, xaxis=axis, yaxis={'rangemode': 'tozero'})]
    for key in (k for k in keys if k not in main):
        data = []
        for run, colour in zip(runs, COLOURS * len(runs), strict=False):
            x, y = _series(run.val, 'step', key)
            if any(v is not None for v in y):
                data.append(_line(run.name, colour, x, y))
        if data:
            ident = 'metric-' + ''.join(c if c.isalnum() else '-' for c in key)
            # No label for each epoch: a small chart would have to turn them.
            below = {'title': axis['title'], 'nticks': 5, 'tickformat': 'd'}
            more: dict[str, Any] = {'height': 210, 'xaxis': below, 'yaxis': {'rangemode': 'tozero'}}
            charts.append(chart(ident, key.split('/')[-1], data, **more))
    return charts


def per_class(runs: dict[str, Scores]) -> dict:
    """AP of every class, the best of the first run on top."""
    first = next(iter(runs.values()))
    known = [k for k in range(len(first.classes)) if first.counts[k]]
    order = sorted(known, key=lambda k: -(first.per_class[k]['AP'] or 0))
    names = [first.classes[k] for k in order]
    data = []
    for (name, scores), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
        by_name = dict(zip(scores.classes, scores.per_class, strict=True))
        values = [number(by_name.get(n, {}).get('AP')) for n in names]
        data.append(
            {
                'type': 'bar',
                'orientation': 'h',
                'name': name,
                'y': names,
                'x': values,
                'marker': {'color': colour},
                'hovertemplate': '%{y}: %{x:.3f}<extra>' + name.replace('<', '&lt;') + '</extra>',
            }
        )
    bar = 18 * len(runs) + 8
    return chart(
        f'classes-{first.kind}',
        'AP of each class',
        data,
        height=max(220, bar * len(names) + 90),
        xaxis={'range': [0, 1], 'title': {'text': 'AP'}},
        yaxis={'ticklabelstandoff': 6, 'autorange': 'reversed'},
        barmode='group',
        bargap=0.3,
    )


def sizes(runs: dict[str, Scores], counts: list[int]) -> dict:
    """AP of small, medium and large objects."""
    first = next(iter(runs.values()))
    labels = [f'{s}<br>{n}' for s, n in zip(SIZES, counts, strict=True)]
    labels.append(f'all<br>{sum(counts)}')
    data = []
    for (name, scores), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
        values = [number(scores.summary[f'AP {s}']) for s in SIZES] + [number(scores.summary['AP'])]
        # The numbers of several runs would not fit side by side; the table has them.
        text = ['' if v is None or len(runs) > 1 else f'{v:.3f}' for v in values]
        data.append(
            {
                'type': 'bar',
                'name': name,
                'x': labels,
                'y': values,
                'text': text,
                'textposition': 'outside',
                'cliponaxis': False,
                'marker': {'color': colour},
                'hovertemplate': '%{y:.3f}<extra></extra>',
            }
        )
    note = 'small: below 32 x 32 pixels; medium: up to 96 x 96; under each size: objects'
    return chart(
        f'sizes-{first.kind}',
        'AP by size of the object',
        data,
        note,
        xaxis={'tickangle': 0},
        yaxis={'range': [0, 1.05], 'title': {'text': 'AP'}},
        barmode='group',
    )


def precision_recall(runs: dict[str, Scores]) -> dict:
    """Precision over recall at IoU 0.5, 0.75 and over all thresholds, per class."""
    first = next(iter(runs.values()))
    recall = [round(r, 2) for r in np.linspace(0, 1, 101)]
    choices: list[tuple[str, str | None]] = [('all classes (mean)', None)]
    choices += [(n, n) for n, c in zip(first.classes, first.counts, strict=True) if c]
    lines = (('IoU 0.50', [0]), ('IoU 0.75', [5]), ('IoU 0.50:0.95', range(10)))
    data, options = [], []
    for label, chosen in choices:
        traces = []
        for (name, scores), colour in zip(runs.items(), COLOURS * len(runs), strict=False):
            if chosen is None:
                places = [k for k, n in enumerate(scores.counts) if n]
            else:
                places = [k for k, n in enumerate(scores.classes) if n == chosen]
            for (text, thresholds), dash in zip(lines, DASHES, strict=False):
                if not places:
                    continue
                curve = scores.precision[list(thresholds)][:, :, places]
                values = [number(v) for v in np.nanmean(curve, axis=(0, 2)).round(4)]
                traces.append(len(data))
                trace = _line(text if len(runs) == 1 else f'{name}: {text}', colour, recall, values)
                trace.update(mode='lines', visible=chosen is None)
                trace['line'] = {'color': colour, 'width': 2, 'dash': dash}
                data.append(trace)
        options.append({'label': label, 'traces': traces})
    figure = chart(
        f'pr-{first.kind}',
        'Precision and recall',
        data,
        height=340 if len(runs) == 1 else 300 + 60 * len(runs),
        xaxis={'range': [0, 1], 'title': {'text': 'recall'}},
        yaxis={'range': [0, 1.02], 'title': {'text': 'precision'}},
    )
    return {**figure, 'options': options, 'choose': 'Class'}


def confusion(name: str, ident: str, labels: list[str], table: np.ndarray, note: str) -> dict:
    """Share of each row's objects; the counts are shown on hover, and in small tables.

    With many classes, those without objects and predictions are left out.
    """
    if len(labels) > FEW:
        keep = np.flatnonzero(table.sum(0) + table.sum(1) > 0)
        labels, table = [labels[k] for k in keep], table[np.ix_(keep, keep)]
    total = table.sum(1, keepdims=True)
    share = np.divide(table, total, out=np.zeros(table.shape), where=total > 0)
    few = len(labels) <= FEW
    every = {'dtick': 1, 'tickfont': {'size': 12 if few else 10}}  # show all labels
    data = {
        'type': 'heatmap',
        'x': labels,
        'y': labels,
        'z': share.round(4).tolist(),
        'customdata': table.tolist(),
        'zmin': 0,
        'zmax': 1,
        'showscale': False,
        'xgap': 1,
        'ygap': 1,
        'hovertemplate': 'truth %{y}<br>predicted %{x}<br>%{customdata} (%{z:.0%})<extra></extra>',
    }
    if few:
        data['text'] = [[str(v) if v else '' for v in row] for row in table.tolist()]
        data['texttemplate'] = '%{text}'
    return chart(
        ident,
        name,
        [data],
        note,
        height=(26 if few else 16) * len(labels) + 150,
        xaxis={'title': {'text': 'predicted', 'standoff': 8}, 'tickangle': -45, **every},
        yaxis={'title': {'text': 'truth', 'standoff': 12}, 'autorange': 'reversed', **every},
    )
