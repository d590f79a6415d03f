"""The scores of a published model, from its test or last validation, with intervals."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.registry import DATASETS, DefaultScope

from selnext_mm.datasets.coco_api import read_data_as_checked, without_its_prints
from selnext_mm.errors import UserError
from selnext_mm.evaluation.coco_scores import run_coco_eval, scores_of
from selnext_mm.evaluation.intervals import ap_intervals
from selnext_mm.inference.loading import LoadedModel
from selnext_mm.report.work_dir import Run, find_path
from selnext_mm.text import counted
from selnext_mm.visualization.panel import load_annotations, load_results

Z95 = 1.959964  # two-sided 95 % quantile of the normal distribution
# mmdet's names of COCO's metrics, after "coco/bbox_mAP".
SUFFIXES = {
    '': 'AP',
    '_50': 'AP50',
    '_75': 'AP75',
    '_s': 'AP small',
    '_m': 'AP medium',
    '_l': 'AP large',
}


@dataclass
class Reached:
    """``scores``, their ``source``, and ``intervals`` (low, high) of some of them."""

    scores: dict[str, float] = field(default_factory=dict)
    source: str = ''
    tested: int | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The section of a model card."""
        if not self.scores:
            return ['No test was found in the folder of the run, so the results are not known.']
        lines = [
            f'From {self.source}' + (f', {counted(self.tested, "image")}:' if self.tested else ':'),
            '',
        ]
        lines += ['| metric | value | 95 % interval |', '|---|---|---|']
        for key, value in self.scores.items():
            ends = self.intervals.get(key)
            digits = 1 if key.startswith('accuracy/') else 3
            text = f'{ends[0]:.{digits}f} to {ends[1]:.{digits}f}' if ends else 'not computed'
            lines.append(f'| {key} | {value:g} | {text} |')
        return [
            *lines,
            '',
            'An interval (Wilson for an accuracy, bootstrap over the images for an AP) covers only '
            'the choice of the test images. This is one training with one seed: how far another '
            'would be from it is not known.',
        ]


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``count`` independent trials.

    ``(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)``
    """
    z2 = Z95**2 / count
    middle = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count)) / (1 + z2)
    return middle - half, middle + half


def results_of(run: Run, loaded: LoadedModel) -> Reached:
    """The metrics of the newest test with ``--out``, else of the last validation in training."""
    reached, content, path = _tested(run)
    reached.tested = count_tested(loaded)
    for key, value in reached.scores.items():
        if key.startswith('accuracy/') and reached.tested:
            low, high = wilson(value / 100, reached.tested)
            reached.intervals[key] = (100 * low, 100 * high)
    if isinstance(content.get('results'), dict):
        reached.intervals |= _ap_intervals(run, reached.scores, content, path, loaded.classes)
    return reached


def _tested(run: Run) -> tuple[Reached, dict, Path]:
    """(scores and their source, the content of the file that has them, its path)."""
    found = sorted(run.folder.glob('*.json'), key=lambda p: p.stat().st_mtime)
    for path in reversed(found):
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict):
            continue
        if path.name == 'result.json' and 'top1' in content:  # of "selnext-mm compare"
            scores = {'accuracy/top1': content['top1']}
            return Reached(scores, 'the test of the comparison'), {}, path
        if isinstance(content.get('metrics'), dict):
            return Reached(_numbers(content['metrics']), 'the test of the run'), content, path
    if run.val:
        return Reached(_numbers(run.val[-1]), 'the last validation during training'), {}, run.folder
    return Reached(), {}, run.folder


def _numbers(metrics: dict) -> dict[str, float]:
    """The meaningful numbers: pycocotools gives -1 for sizes that no object has."""
    hidden = ('step', 'time', 'data_time')
    return {
        k: v
        for k, v in metrics.items()
        if isinstance(v, int | float) and v == v and v >= 0 and k.split('/')[-1] not in hidden
    }


def _ap_intervals(
    run: Run, scores: dict[str, float], content: dict, path: Path, classes: tuple[str, ...]
) -> dict[str, tuple[float, float]]:
    """Intervals of the APs of a test whose predictions and annotations still exist; else empty.

    Left out if the predictions do not have the AP of the test: they are from another one.
    """
    named = content.get('annotations')
    annotations = find_path(named, run.folder) if isinstance(named, str) else None
    intervals: dict[str, tuple[float, float]] = {}
    for kind, name in content['results'].items():
        file = path.with_name(str(name))
        keys = {key: f'coco/{kind}_mAP{key}' for key in SUFFIXES}
        if annotations is None or not file.is_file() or keys[''] not in scores:
            continue
        try:
            truth = load_annotations(annotations)
            results = load_results(file, truth, masks=kind == 'segm')
            evaluation = run_coco_eval(truth, results, kind, list(classes))
        except (UserError, OSError, ValueError, KeyError, TypeError):
            continue
        ap = scores_of(evaluation)['AP']
        if ap is None or abs(ap - scores[keys['']]) > 6e-4:  # mmdet rounds to three digits
            continue
        found = ap_intervals(evaluation)
        intervals |= {keys[s]: found[n] for s, n in SUFFIXES.items() if n in found}
    return intervals


def count_tested(loaded: LoadedModel) -> int | None:
    """The number of test images; None if the test set is no longer available."""
    dataset = (loaded.cfg.get('test_dataloader') or {}).get('dataset')
    if not dataset:
        return None
    read_data_as_checked(loaded.cfg.get('default_scope'))
    try:
        scope = DefaultScope.overwrite_default_scope(loaded.cfg.get('default_scope', 'mmengine'))
        with scope, without_its_prints():
            return len(DATASETS.build(dict(dataset, lazy_init=False)))
    except (UserError, OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None
