"""AP of each class over the epochs, if the evaluations during training wrote it."""

from selnext_mm.report.charts import CLASS_AP, COLOURS, DASHES, _keys, _line, _series, chart
from selnext_mm.report.work_dir import Run

SHOWN = 12  # classes whose curves are shown together at first


def class_curves(runs: list[Run]) -> list[dict]:
    """One chart with a choice of the class; empty if no run was evaluated by class twice.

    The curves of all classes together, or of the first :data:`SHOWN`, are a choice only for a
    single run.
    """
    keys = [k for k in _keys([row for run in runs for row in run.val]) if k.endswith(CLASS_AP)]
    if not keys or all(len(run.val) < 2 for run in runs):
        return []
    data, places = [], []
    for n, key in enumerate(keys):
        name = key.removesuffix(CLASS_AP).split('/')[-1]
        traces = []
        for m, run in enumerate(runs):
            x, y = _series(run.val, 'step', key)
            if any(value is not None for value in y):
                single = len(runs) == 1
                line = {
                    'color': COLOURS[(n if single else m) % len(COLOURS)],
                    'width': 2,
                    'dash': DASHES[(n // len(COLOURS)) % len(DASHES) if single else 0],
                }
                traces.append(len(data))
                data.append(_line(name if single else run.name, '', x, y, line=line))
        if traces:  # a class without an object has no AP
            places.append((name, traces))
    if not places:
        return []
    options = [{'label': name, 'traces': traces} for name, traces in places]
    if len(runs) == 1:
        first = [t for _, traces in places[:SHOWN] for t in traces]
        label = 'all classes' if len(places) <= SHOWN else f'the first {SHOWN}'
        options.insert(0, {'label': label, 'traces': first})
    shown = set(options[0]['traces'])
    for place, trace in enumerate(data):
        trace['visible'] = place in shown
    unit = 'epoch' if all(run.by_epoch for run in runs) else 'iteration'
    figure = chart(
        'class-curves',
        f'AP of each class over {unit}s',
        data,
        height=360,
        xaxis={'title': {'text': unit}},
        yaxis={'rangemode': 'tozero', 'title': {'text': 'AP'}},
    )
    return [{**figure, 'options': options, 'choose': 'Class'}]
