"""The model card: what the weights are, their training and results, and what is not known.

The Hub reads the block between the dashes.
"""

import contextlib
import io
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS, DefaultScope

from selnext_mm.config import summary
from selnext_mm.inference.loading import LoadedModel
from selnext_mm.report.work_dir import Run
from selnext_mm.text import preview

Z95 = 1.959964  # two-sided 95 % quantile of the normal distribution


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of ``count`` independent trials.

    ``(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)``
    """
    z2 = Z95**2 / count
    middle = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / count + z2 / (4 * count)) / (1 + z2)
    return middle - half, middle + half


def tested_scores(run: Run) -> tuple[dict[str, float], str]:
    """(metrics, where they come from): of the newest test with ``--out``, else of training."""
    found = sorted(run.folder.glob('*.json'), key=lambda p: p.stat().st_mtime)
    for path in reversed(found):
        try:
            content = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            continue
        if not isinstance(content, dict):
            continue
        if path.name == 'result.json' and 'top1' in content:  # of "selnext-mm compare"
            return {'accuracy/top1': content['top1']}, 'the test of the comparison'
        if isinstance(content.get('metrics'), dict):
            return _numbers(content['metrics']), 'the test of the run'
    if run.val:
        return _numbers(run.val[-1]), 'the last validation during training'
    return {}, ''


def _numbers(metrics: dict) -> dict[str, float]:
    """The meaningful numbers: pycocotools gives -1 for sizes that no object has."""
    hidden = ('step', 'time', 'data_time')
    return {
        k: v
        for k, v in metrics.items()
        if isinstance(v, int | float) and v == v and v >= 0 and k.split('/')[-1] not in hidden
    }


def count_tested(loaded: LoadedModel) -> int | None:
    """The number of test images; None if the test set is no longer here."""
    dataset = (loaded.cfg.get('test_dataloader') or {}).get('dataset')
    if not dataset:
        return None
    try:
        scope = DefaultScope.overwrite_default_scope(loaded.cfg.get('default_scope', 'mmengine'))
        with scope, contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            return len(DATASETS.build(dict(dataset, lazy_init=False)))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        return None


def _score_lines(scores: dict[str, float], source: str, tested: int | None) -> list[str]:
    if not scores:
        return ['No test was found in the folder of the run, so the results are not known.']
    lines = [f'From {source}' + (f', {tested} images:' if tested else ':'), '']
    lines += ['| metric | value | 95 % interval |', '|---|---|---|']
    for key, value in scores.items():
        interval = 'not computed'
        if key.startswith('accuracy/') and tested:
            low, high = (100 * v for v in wilson(value / 100, tested))
            interval = f'{low:.1f} to {high:.1f}'
        lines.append(f'| {key} | {value:g} | {interval} |')
    lines += [
        '',
        'An interval (Wilson) covers only the choice of the test images. This is one training with '
        'one seed: how far another would be from it is not known.',
    ]
    return lines


def model_card(
    run: Run,
    loaded: LoadedModel,
    about: dict[str, Any],
    checkpoint: str,
    digest: str,
    licence: str,
    repo: str | None,
    start: str,
    dtype: str = 'float32',
    notes: Sequence[str] = (),
    command: str | None = None,
) -> str:
    """The text of ``README.md``.

    Args:
        run: the work dir.
        loaded: the model.
        about: the content of ``config.json``.
        checkpoint: name of the file that the weights come from.
        digest: SHA-256 of the published weights.
        licence: of the weights.
        repo: ``owner/name`` on the Hub; None for a folder that is used where it is.
        start: where training started.
        dtype: of the stored weights.
        notes: sentences of the user who publishes it.
        command: the one that trained it.
    """
    cfg, count = loaded.cfg, sum(p.numel() for p in loaded.model.parameters())
    folder, weights = ('model', f'hf://{repo}') if repo else ('FOLDER', 'FOLDER')
    scores, source = tested_scores(run)
    tested = count_tested(loaded)
    seed = (cfg.get('randomness') or {}).get('seed')
    data = re.sub(r' in \S+(?=,|$)', '', summary.data_line(cfg))  # without its folder
    task, rounded = about['task'], scores and dtype != 'float32'
    lines = [
        '---',
        f'license: {licence}',
        'library_name: ' + ('timm' if 'architecture' in about else 'selnext_mm'),
        f'pipeline_tag: {task}',
        'tags:',
        *(f'- {tag}' for tag in ('selnext_mm', 'pytorch', 'safetensors')),
        '---',
        '',
        f'# {Path(run.name).name}',
        '',
        f'{summary.model_line(cfg)}: {summary.short_number(count)} parameters, '
        f'{len(loaded.classes)} classes ({preview(loaded.classes, 10)}).',
        '',
        '## Use',
        '',
        '```bash',
        *(
            ('pip install selnext_mm[mm,hub]', f'hf download {repo} --local-dir model')
            if repo
            else ('pip install selnext_mm[mm]   # FOLDER is the folder of this card',)
        ),
        f'selnext-mm predict {folder} IMAGES --out predictions',
        f'selnext-mm train --data DIR --weights {weights}   # start another training from it',
        '```',
    ]
    if 'architecture' in about:
        lines += [
            '',
            '```python',
            'import selnext_mm.timm, timm',
            'model = timm.create_model('
            f"'{f'hf-hub:{repo}' if repo else 'local-dir:FOLDER'}', pretrained=True)",
            '```',
        ]
    lines += [
        '',
        '## Data and recipe',
        '',
        f'- data: {data}; only its owner can say what it shows and who may use it',
        *(f'- {note}' for note in notes),
        f'- schedule: {summary.schedule_line(cfg)}',
        f'- start: {start}',
        f'- precision: {summary.precision(cfg)}; seed {seed}',
        *([f'- command: `{command}`'] if command else []),
        '- everything else: `config.py`; its paths begin with `DATA/`',
        '',
        '## Results',
        '',
        *_score_lines(scores, source, tested),
        *(['', f'Measured before the weights were rounded to {dtype}.'] if rounded else []),
        '',
        '## Limits',
        '',
        '- The model knows only its classes, in images like those it was trained on. On other '
        'images its scores mean nothing.',
        '- The scores are not calibrated probabilities.',
        '- It was not tested for differences between groups of people, places or devices.',
        '',
        '## Files',
        '',
        f'- `model.safetensors`: weights of `{checkpoint}` in {dtype}, SHA-256 `{digest}`',
        '- `config.py`: the resolved config; `preprocessor_config.json`: how images are prepared',
        '',
        '## Licence',
        '',
        f'Weights: {licence}, as their publisher chose. Code: Apache-2.0.',
        '',
    ]
    return '\n'.join(lines)
