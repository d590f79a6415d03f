"""The model card: what the weights are, their training and results, and what is unknown.

The Hub reads the block between the dashes.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selnext_mm.config import summary
from selnext_mm.inference.loading import LoadedModel
from selnext_mm.publish.results import results_of
from selnext_mm.report.work_dir import Run
from selnext_mm.text import counted, preview


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
        repo: ``owner/name`` on the Hub; None for a folder that is used locally.
        start: where training started.
        dtype: of the stored weights.
        notes: sentences of the user who publishes it.
        command: the one that trained it.
    """
    cfg, count = loaded.cfg, sum(p.numel() for p in loaded.model.parameters())
    folder, weights = ('model', f'hf://{repo}') if repo else ('FOLDER', 'FOLDER')
    reached = results_of(run, loaded)
    seed = (cfg.get('randomness') or {}).get('seed')
    data = re.sub(r' in \S+(?=,|$)', '', summary.data_line(cfg))  # without its folder
    task, rounded = about['task'], reached.scores and dtype != 'float32'
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
        f'{counted(len(loaded.classes), "class")} ({preview(loaded.classes, 10)}).',
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
        *reached.lines(),
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
