"""The results of a comparison as JSON, CSV and Markdown: mean and sample std over the seeds."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from selnext_mm.analysis.comparison.plan import PLACES, Protocol, Run, finished
from selnext_mm.disk import write_json, write_text

COLUMNS = ('model', 'params', 'seeds', 'top1', 'top1_std',
           'distance_expansion', 'distance_expansion_std',
           'distance_block', 'distance_block_std', 'seconds', 'missing')  # fmt: skip

SMALLEST = 32  # input side at which a network of stride 32 ends in a single position


def spread(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample standard deviation; None where there are too few values."""
    known = [v for v in values if v is not None]
    return (mean(known) if known else None, stdev(known) if len(known) > 1 else None)


def collect(runs: Sequence[Run]) -> tuple[list[dict], list[dict]]:
    """(one row per model, all results); a row also lists the seeds that were not run."""
    by_model: dict[str, list[Run]] = {}
    for run in runs:
        by_model.setdefault(run.model.label, []).append(run)
    rows, results = [], []
    for label, group in by_model.items():
        done = {run.seed: result for run in group if (result := finished(run))}
        results += done.values()
        row = dict(model=label, params=group[0].model.params, seeds=sorted(done))
        row['top1'], row['top1_std'] = spread([r['top1'] for r in done.values()])
        for place in PLACES:
            values = [(r['distance'][place] or {}).get('mean') for r in done.values()]
            row[f'distance_{place}'], row[f'distance_{place}_std'] = spread(values)
        row['seconds'], _ = spread([r['seconds'] for r in done.values()])
        row['missing'] = sorted({run.seed for run in group} - set(done))
        rows.append(row)
    return rows, results


def shown(value: float | None, std: float | None, digits: int) -> str:
    if value is None:
        return '-'
    return f'{value:.{digits}f}' + ('' if std is None else f' ± {std:.{digits}f}')


def resolved(rows: Sequence[dict], key: str = 'top1') -> float | None:
    """Half the width of the 95 % confidence interval of a difference of two means of ``key``.

    ``t * s * sqrt(1 / n + 1 / m)`` with Student's t, ``s`` the pooled standard deviation within the
    models, and ``n`` and ``m`` the two smallest numbers of seeds; top-1 in points, a distance as
    it is. None with fewer than two models of several seeds: there is nothing to compare.
    """
    several = [row for row in rows if row[f'{key}_std'] is not None]
    if len(several) < 2:
        return None
    from scipy.stats import t

    free = sum(len(row['seeds']) - 1 for row in several)
    within = sum((len(r['seeds']) - 1) * r[f'{key}_std'] ** 2 for r in several) / free
    few, next_few, *_ = sorted(len(row['seeds']) for row in several)
    return float(t.ppf(0.975, free)) * math.sqrt(within * (1 / few + 1 / next_few))


def distinct(results: Sequence[dict], key: str) -> str:
    """The distinct values of a dict that every result has, as a string."""
    texts = {', '.join(f'{k} {v}' for k, v in r[key].items()) for r in results}
    return '; '.join(sorted(texts)) or 'nothing was run'


def markdown(
    rows: Sequence[dict], results: Sequence[dict], protocol: Protocol, command: str
) -> str:
    kind = 'REDUCED' if protocol.reduced else 'FULL'
    lines = [
        f'{kind} comparison: {protocol}.',
        '',
        '| model | params (M) | seeds | top-1 % | distance, expansion | distance, block |',
        '|---|---|---|---|---|---|',
    ]
    for row in rows:
        seeds = ' '.join(map(str, row['seeds'])) or 'not run'
        if row['seeds'] and row['missing']:
            seeds += f' (not run: {" ".join(map(str, row["missing"]))})'
        cells = [
            row['model'],
            f'{row["params"] / 1e6:.2f}',
            seeds,
            shown(row['top1'], row['top1_std'], 1),
            *(shown(row[f'distance_{p}'], row[f'distance_{p}_std'], 3) for p in PLACES),
        ]
        lines.append(f'| {" | ".join(cells)} |')
    lines += [
        '',
        'Mean ± sample standard deviation over the seeds. Feature cosine distance on the test '
        'images, mean over the blocks: after the expansion layer, and of the block; - where a '
        'model has no expansion layers.',
    ]
    smallest = resolved(rows)
    if smallest is not None:
        distances = [
            f'{distance:.2g} in the distance ({place})'
            for place in PLACES
            if (distance := resolved(rows, f'distance_{place}')) is not None
        ]
        lines.append(
            f'A difference of {", ".join([f"{smallest:.1f} points in top-1", *distances])} or more '
            'is significant (95 % confidence interval, with the standard deviation pooled over the '
            'models); a smaller one is not resolved.'
        )
    elif protocol.reduced:
        lines.append(
            'A reduced run resolves only large differences: one under about two standard '
            'deviations says nothing.'
        )
    if (protocol.size or max(protocol.config_sizes)) == SMALLEST:
        lines.append(
            f'At {SMALLEST} pixels the last stage is 1 x 1: the mean of channel attention, the '
            'softmax of NA and the self-attention of PATNet see one position there, and the table '
            'says little about them.'
        )
    lines += [
        '',
        f'- command: `{command}`',
        f'- machine: {distinct(results, "machine")}',
        f'- versions: {distinct(results, "versions")}',
    ]
    return '\n'.join(lines) + '\n'


def write_tables(runs: Sequence[Run], protocol: Protocol, out: Path, command: str) -> str:
    """Write ``comparison.{json,csv,md}`` into ``out``; return the Markdown."""
    rows, results = collect(runs)
    text = markdown(rows, results, protocol, command)
    facts = {k: getattr(protocol, k) for k in protocol.__dataclass_fields__}
    write_json(
        out / 'comparison.json',
        dict(
            kind='reduced' if protocol.reduced else 'full',
            protocol=facts,
            command=command,
            rows=rows,
            runs=results,
        ),
    )
    lists = io.StringIO()
    writer = csv.DictWriter(lists, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({**row, **{k: ' '.join(map(str, row[k])) for k in ('seeds', 'missing')}})
    write_text(out / 'comparison.csv', lists.getvalue())
    write_text(out / 'comparison.md', text)
    return text
