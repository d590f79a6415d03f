"""Accuracy against parameters, FLOPs and latency: the paper's tables and our own timings.

A file of timings is what ``benchmarks/latency.py --json`` writes, or anything of this shape::

    {"command": "...", "machine": {...}, "versions": {...},
     "results": [{"name": "SELNeXt-T", "median_ms": 61.2, "mean_ms": 61.9, "std_ms": 1.1}, ...]}

Only the list, ``results`` or ``rows``, is required. Each entry needs a ``name`` (a ``label`` takes
precedence) and a time: ``median_ms``, ``mean_ms``, ``median_s`` or ``mean_s``. The ``source``, then
the name, is looked up among the models of the table and our configs; case, punctuation, folder and
``_in1k`` are ignored. Text after "@" or " at " names a variant of the model (``SELNeXt-T@deploy``,
``MobileViT-XS at 256``), which has the model's accuracy. An entry with ``options``, changed values
of its config, is a variant, too (``SELNeXt-T, layer by layer``). An entry with an ``accuracy`` of
its own, in percent, is drawn with that one, and needs it if its model is not in the table;
``params`` and ``flops``, as counts, are used only for such models.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from selnext_mm.analysis.papers.tables import TABLES, PaperModel
from selnext_mm.errors import UserError


@dataclass
class Measured:
    """One file of timings: name -> ``latency`` in ms and, where known, the rest of its row."""

    label: str
    results: dict[str, dict]


@dataclass
class Point:
    """One model; ``measured`` maps the label of each file to its milliseconds."""

    name: str
    family: str
    params: float | None
    flops: float | None
    latency: float | None
    accuracy: float
    accuracy_source: str = 'paper'
    measured: dict[str, float] = field(default_factory=dict)


def key(name: str) -> str:
    """The key of a name: the same for ``cls/selnext_t_in1k.py``, ``SELNeXt-T`` and ``selnext_t``.

    Plus and minus between words matter: "Baseline + SE - LN" is not "Baseline + SELN".
    """
    stem = re.sub(r'(_in1k)?(\.py)?$', '', name.strip().rsplit('/', 1)[-1].lower())
    return re.sub(r'[^a-z0-9<>]', '', stem.replace(' + ', '>').replace(' - ', '<'))


def _positive(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e15:
        return None
    return float(value)


def _latency(row: dict) -> float | None:
    """Milliseconds of an entry, the median first."""
    for name, factor in (('median_ms', 1), ('mean_ms', 1), ('median_s', 1e3), ('mean_s', 1e3)):
        if value := _positive(row.get(name)):
            return value * factor
    return None


def load_measured(path: str | Path) -> Measured:
    """Read a file of timings.

    Raises:
        UserError: if it cannot be read, is not JSON, or has no entries or an unusable one.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(f'cannot read the timings {path}: {error.strerror or error}') from error
    except ValueError as error:
        raise UserError(f'the timings {path} are not JSON: {error}') from error
    rows = content.get('results', content.get('rows')) if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise UserError(
            f'{path} has no list "results" or "rows"; expected a file of benchmarks/latency.py '
            '--json, or {"results": [{"name": "SELNeXt-T", "median_ms": 61.2}, ...]}'
        )
    results: dict[str, dict] = {}
    for row in rows:
        name = row.get('label', row.get('name')) if isinstance(row, dict) else None
        latency = _latency(row) if isinstance(name, str) else None
        if latency is None:
            raise UserError(
                f'{path}: an entry needs a "name" and a positive "median_ms", "mean_ms", '
                f'"median_s" or "mean_s", not {json.dumps(row)[:120]}'
            )
        if name in results:
            raise UserError(f'{path} has two entries named {name!r}; give one file per setting')
        values = {k: _positive(row.get(k)) for k in ('accuracy', 'params', 'flops')}
        results[name] = {k: v for k, v in values.items() if v} | {'latency': latency}
        if isinstance(row.get('source'), str):
            results[name]['source'] = row['source']
        if row.get('options') and isinstance(row['options'], dict):
            results[name]['options'] = row['options']
    return Measured(Path(path).stem, results)


def model_and_variant(name: str, options: dict) -> tuple[str, str]:
    """``('SELNeXt-T', 'deploy')`` for ``SELNeXt-T@deploy``; without a variant, ``''``.

    With ``options`` the model is a changed one: the text after a comma in its name, else the
    options themselves, are the variant or a part of it.
    """
    base, _, variant = re.sub(r' at (?=\d)', '@at ', name).partition('@')
    if options:
        base, _, change = base.partition(', ')
        change = change or ', '.join(f'{k}={v}' for k, v in options.items())
        variant = ', '.join(filter(None, (change, variant)))
    return base, variant


def _find(names: Iterable[str], rows: Sequence[PaperModel]) -> PaperModel | None:
    for name in names:
        for row in rows:
            if key(name) in (key(row.name), row.config and key(row.config)):
                return row
    return None


def _point(name: str, values: dict, row: PaperModel | None, variant: str) -> Point | None:
    """A new point for a measured model; None if its accuracy is not known."""
    accuracy = values.get('accuracy', row.accuracy if row else None)
    if accuracy is None:
        return None
    source = 'measured' if 'accuracy' in values else 'paper'
    if row is not None:
        return Point(
            f'{row.name}, {variant}', f'{row.family}, {variant}', None, None, None, accuracy, source
        )
    params, flops = values.get('params'), values.get('flops')
    return Point(name, name, params and params / 1e6, flops and flops / 1e9, None, accuracy, source)


def trade_off(table: str, files: Sequence[Measured] = ()) -> tuple[list[Point], list[str]]:
    """The rows of a table with the times from ``files``, and the names that cannot be drawn.

    Raises:
        UserError: for an unknown table, if no entry of a file can be drawn, or if two of its
            entries are the same model.
    """
    if table not in TABLES:
        raise UserError(f'table {table!r}; expected one of {", ".join(TABLES)}')
    rows = TABLES[table]
    points = {
        row.name: Point(row.name, row.family, row.params, row.flops, row.latency, row.accuracy)
        for row in rows
    }
    homeless = []
    for file in files:
        placed: dict[str, str] = {}
        for name, values in file.results.items():
            base, variant = model_and_variant(name, values.get('options', {}))
            row = _find((values.get('source', base), base), rows)
            if row is not None and not variant and 'accuracy' not in values:
                point = points[row.name]
            else:
                point = _point(name, values, row, variant or file.label)
            if point is None:
                homeless.append(name)
                continue
            if point.name in placed:
                raise UserError(
                    f'{file.label}: {placed[point.name]!r} and {name!r} are both {point.name} of '
                    f'{table}; leave one out, or name it as a variant ({point.name}@...)'
                )
            placed[point.name] = name
            points.setdefault(point.name, point).measured[file.label] = values['latency']
        if not placed:
            raise UserError(
                f'{file.label}: none of its names ({", ".join(list(file.results)[:3])}, ...) is '
                f'in {table}, and none has an "accuracy"; the table has '
                f'{", ".join(row.name for row in rows)}'
            )
    return list(points.values()), homeless
