"""Build a report and write it."""

import datetime
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from selnext_mm import __version__
from selnext_mm.disk import write_text
from selnext_mm.errors import UserError
from selnext_mm.report import charts, facts, sections
from selnext_mm.report.best_scores import write_thresholds
from selnext_mm.report.class_curves import class_curves
from selnext_mm.report.classification import classification, find_class_results
from selnext_mm.report.work_dir import Run, read_run, refuse_published
from selnext_mm.text import counted
from selnext_mm.visualization import SCORE_THR

HERE = Path(__file__).parent


def _libraries():
    try:
        import jinja2
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise UserError(
            f'a report needs {error.name}, which is not installed here: pip install '
            '"selnext_mm[report]" (or: pip install plotly jinja2)'
        ) from error
    return jinja2, get_plotlyjs()


def run_names(folders: Sequence[Path]) -> list[str]:
    """The shortest path suffixes that are different for all folders."""
    parts = [f.resolve().parts for f in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ['/'.join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    raise UserError(f'the same work dir is given twice: {", ".join(map(str, folders))}')


def as_json(value) -> str:
    """JSON for a <script> block, without NaN and without anything that could end the block."""

    def clean(node):
        if isinstance(node, dict):
            return {k: clean(v) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [clean(v) for v in node]
        return None if isinstance(node, float) and not math.isfinite(node) else node

    text = json.dumps(clean(value), separators=(',', ':'), allow_nan=False)
    return text.replace('<', '\\u003c').replace('\u2028', '\\u2028').replace('\u2029', '\\u2029')


def _trouble(run: Run) -> None:
    """Note where the loss became NaN or infinite."""
    row = next((r for r in run.train if not math.isfinite(r.get('loss', 0))), None)
    if row:
        run.notes.append(f'the loss is {row["loss"]} from iteration {row["iter"]} on')


def _sections(
    runs: list[Run],
    predictions: Sequence[Path | None],
    annotations: Path | None,
    images: Path | None,
    num: int,
    score_thr: float,
    say: Callable[[str], None],
) -> tuple[list[dict], dict | None]:
    groups: dict[Path, list[sections.Tested]] = {}
    classifiers: list[tuple[Run, Path]] = []
    for run, given in zip(runs, predictions, strict=True):
        if path := find_class_results(run, given):
            classifiers.append((run, path))
            continue
        tested = sections.find_tested(run, given, annotations, images)
        if tested:
            groups.setdefault(tested.annotations.resolve(), []).append(tested)
    of_detectors = {'--ann': annotations, '--images': images}
    if classifiers and not groups and any(of_detectors.values()):
        names = ' and '.join(name for name, path in of_detectors.items() if path)
        raise UserError(
            f'{names} would change nothing: '
            'the predictions are those of classifiers, which name their images themselves; leave '
            'it out'
        )
    detection = [
        sections.section(i, tested, num, score_thr, say)
        for i, tested in enumerate(groups.values(), 1)
    ]
    return detection, classification(classifiers, num)


def build_report(
    folders: Sequence[str | Path],
    out: str | Path,
    predictions: Sequence[str | Path] = (),
    annotations: str | Path | None = None,
    images: str | Path | None = None,
    names: Sequence[str] = (),
    num: int = 12,
    score_thr: float = SCORE_THR,
    say: Callable[[str], None] = lambda text: None,
    thresholds: str | Path | None = None,
) -> dict:
    """Write the report of one or several work dirs as one HTML file.

    Args:
        folders: work dirs.
        out: the file to write.
        predictions: for each folder, in order, what ``selnext-mm test --out`` wrote; by default
            the newest in the folder.
        annotations: COCO file of the predictions; by default the one that the config names.
        images: folder of the images; by default the one that the config names.
        names: of the runs; by default the ends of their paths.
        num: worst and best images to show (as many of each).
        score_thr: predictions below it are not in the confusion matrix and the gallery.
        say: called with a line of text at each step.
        thresholds: file to write the threshold of each class with the largest F1 to; for a single
            work dir.

    Returns:
        The numbers ``runs``, ``charts``, ``pictures`` and ``bytes``, and ``notes``: what was
        missing.

    Raises:
        UserError: for a missing folder or library, predictions that belong to other annotations,
            or ``thresholds`` without predictions.
    """
    jinja2, plotly = _libraries()
    paths = [Path(f) for f in folders]
    for what, given in (('predictions', predictions), ('names', names)):
        if given and len(given) != len(paths):
            number = counted(len(given), what[:-1])
            raise UserError(f'{number} for {counted(len(paths), "work dir")}; give one for each')
    ends = run_names(paths)
    if thresholds and len(paths) > 1:
        raise UserError(
            f'--thresholds {thresholds} is for a single work dir; {len(paths)} are given'
        )
    if len(set(names)) != len(names):
        raise UserError(f'the names of the runs are not all different: {", ".join(names)}')
    for path in paths:
        refuse_published(path)
    runs = [read_run(p, name) for p, name in zip(paths, names or ends, strict=True)]
    files = [Path(p) for p in predictions] or [None] * len(runs)
    parts, classified = _sections(
        runs,
        files,
        Path(annotations) if annotations else None,
        Path(images) if images else None,
        *(num, score_thr, say),
    )
    for run in runs:
        _trouble(run)
    training, details = charts.training(runs), charts.training_details(runs)
    validation, by_class = charts.validation(runs), class_curves(runs)
    figures = [*training, *details, *validation, *by_class]
    for part in parts:
        for kind in part['kinds']:
            figures += kind['charts'] + kind['errors']['charts']
        figures += part['confusion']
    if classified:
        figures += [c for one in classified['runs'] for c in one['charts']]
        figures.append(classified['calibration'])
    environments = [facts.environment(r.environment) for r in runs]
    keys = list(dict.fromkeys(k for e in environments for k in e))
    notes = [(r.name, note) for r in runs for note in r.notes]
    notes += [('', note) for part in parts for note in part['notes']]
    loader = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    pictures = [len(s['gallery']['entries']) if s['gallery'] else 0 for s in parts]
    text = loader.get_template('page.html').render(
        title=' and '.join(r.name for r in runs) if len(runs) < 4 else f'{len(runs)} runs',
        version=__version__,
        date=datetime.datetime.now().strftime('%Y-%m-%d %H:%M'),
        runs=runs,
        colours=[c for c, _ in zip(charts.COLOURS * len(runs), runs, strict=False)],
        glance=facts.at_a_glance(runs),
        differences=facts.differences([r.config for r in runs]),
        environment=[(k, [e.get(k, '') for e in environments]) for k in keys],
        notes=notes,
        training=training,
        details=details,
        validation=validation,
        by_class=by_class,
        metrics=facts.last_metrics(runs),
        sections=parts,
        classified=classified,
        css=(HERE / 'page.css').read_text(encoding='utf-8'),
        script=(HERE / 'page.js').read_text(encoding='utf-8'),
        plotly=plotly if figures else '',
        data=as_json({'charts': figures, 'galleries': {s['id']: s['gallery'] for s in parts}}),
    )
    if thresholds:
        write_thresholds(thresholds, runs[0], parts)
    write_text(out, text)
    return {
        'runs': len(runs),
        'charts': len(figures),
        'pictures': sum(pictures),
        'notes': notes,
        'bytes': len(text.encode()),
    }
