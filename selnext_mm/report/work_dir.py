"""Reads what a run wrote into its work dir: scalars, config, environment, predictions."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from selnext_mm.checkpoints.hub import DEFAULT_FILE
from selnext_mm.config.walk import iter_evaluators, tested_dataset
from selnext_mm.errors import UserError


@dataclass
class Run:
    """One run. ``train`` rows have ``iter``, ``val`` rows ``step`` (epoch or iteration).

    ``config`` is the one of the training, ``test_config`` that of the newest test in the folder.
    """

    name: str
    folder: Path
    config: Config | None = None
    config_text: str = ''
    test_config: Config | None = None
    train: list[dict] = field(default_factory=list)
    val: list[dict] = field(default_factory=list)
    test: dict = field(default_factory=dict)
    environment: str = ''
    sessions: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def by_epoch(self) -> bool:
        train = (self.config.get('train_cfg') if self.config else None) or {}
        return 'max_iters' not in train


def read_rows(path: Path) -> tuple[list[dict], int]:
    """The JSON lines of ``path`` and the number of damaged ones (a killed run may leave one)."""
    rows, damaged = [], 0
    for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            damaged += 1
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            damaged += 1
    return rows, damaged


def _scalars(vis_data: Path) -> Path | None:
    named = vis_data / f'{vis_data.parent.name}.json'
    return next((p for p in (vis_data / 'scalars.json', named) if p.is_file()), None)


def _replace(old: list[dict], new: list[dict], key: str) -> list[dict]:
    """``old`` up to where ``new`` begins, then ``new``: a resumed run repeats a few rows."""
    if not new:
        return old
    first = min(row[key] for row in new)
    return [row for row in old if row[key] < first] + new


def _parse(path: Path, run: Run) -> Config | None:
    try:
        return Config.fromfile(path, import_custom_modules=False)
    # A config is Python code that may raise anything; the report then goes without it.
    except Exception as error:
        run.notes.append(f'the config {path.name} cannot be read: {error}')
        return None


def _read_config(folder: Path, sessions: list[Path], run: Run) -> None:
    """The newest training's config, else the newest there is; and that of a later test."""
    dumped = [s / 'config.py' for s in reversed(sessions) if (s / 'config.py').is_file()]
    files = [p for p in dumped if _scalars(p.parent)]
    files += [p for p in dumped if p not in files]
    files += sorted(folder.glob('*.py'), key=lambda p: p.stat().st_mtime, reverse=True)
    for path in files:
        run.config_text = path.read_text(encoding='utf-8', errors='replace')
        run.config = _parse(path, run)
        if run.config is not None:
            if dumped and dumped[0] != path:
                run.test_config = _parse(dumped[0], run)
            return
    if not files:
        run.notes.append('no config was found in this folder')


def refuse_published(folder: Path) -> None:
    """Raise :class:`UserError` for a published folder, whose page would be empty."""
    if (folder / DEFAULT_FILE).is_file() and not any(folder.glob('*/vis_data')):
        raise UserError(
            f'{folder} is a published model ({DEFAULT_FILE}), which has neither the curves nor the '
            'predictions of a run; give the work dir that it was published from'
        )


def read_run(folder: str | Path, name: str | None = None) -> Run:
    """Read a work dir, or one dated folder of it.

    Raises:
        UserError: if there is no such folder, or it contains no files of a run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f'{folder} is not a folder; give the work dir of a run')
    inside = [folder] if (folder / 'vis_data').is_dir() else sorted(folder.iterdir())
    sessions = [p / 'vis_data' for p in inside if (p / 'vis_data').is_dir()]
    has_config = any((s / 'config.py').is_file() for s in sessions) or any(folder.glob('*.py'))
    if not sessions and not has_config:
        raise UserError(
            f'{folder} is not the work dir of a run: it contains neither a dated folder with '
            'vis_data/ nor a config. Give the folder that training printed as "files"'
        )
    run = Run(name or folder.resolve().name, folder)
    damaged = 0
    for session in sessions:
        scalars = _scalars(session)
        if scalars is not None:
            rows, bad = read_rows(scalars)
            damaged += bad
            run.sessions += 1
            train = [r for r in rows if 'iter' in r and 'lr' in r]
            val = [r for r in rows if 'iter' not in r and 'step' in r]
            run.train = _replace(run.train, train, 'iter')
            run.val = _replace(run.val, val, 'step')
        tested = session.parent / f'{session.parent.name}.json'
        if tested.is_file():
            run.test = next(iter(read_rows(tested)[0]), run.test)
        environment = session.parent / 'environment.txt'
        if environment.is_file() and (scalars is not None or not run.environment):
            run.environment = environment.read_text(encoding='utf-8', errors='replace')
    if damaged:
        run.notes.append(f'{damaged} damaged line(s) of the scalars were left out')
    if not run.train:
        run.notes.append('no training scalars (vis_data/scalars.json) were found')
    _read_config(folder, sessions, run)
    return run


def find_path(path: str | Path, near: Path) -> Path | None:
    """``path`` as it is, or below a parent of ``near``; None if neither exists.

    Paths in a config are relative to the folder where training was started, which is often a
    parent of the work dir.
    """
    path = Path(path).expanduser()
    roots: Iterable[Path] = [Path()] if path.is_absolute() else [Path(), *near.resolve().parents]
    return next((root / path for root in roots if (root / path).exists()), None)


def find_predictions(run: Run) -> Path | None:
    """Prefix of the newest PREFIX.bbox.json or PREFIX.segm.json of a run; None without one."""
    found = [
        p
        for pattern in ('*.bbox.json', '*.segm.json', '*/*.bbox.json', '*/*.segm.json')
        for p in run.folder.glob(pattern)
    ]
    if not found and run.config is not None:
        for name, metric in iter_evaluators(run.config):
            prefix = metric.get('outfile_prefix') if name == 'test_evaluator' else None
            for kind in ('segm', 'bbox') if prefix else ():
                path = find_path(f'{prefix}.{kind}.json', run.folder)
                found += [path] if path else []
    if not found:
        return None
    newest = max(found, key=lambda p: p.stat().st_mtime)
    return newest.with_name(newest.name[: -len('.bbox.json')])


def prediction_files(path: Path) -> dict[str, Path]:
    """{'bbox': file, 'segm': file} of a prefix, of one of the two files, or of PREFIX.json.

    Raises:
        UserError: if there are none.
    """
    name = path.name
    for ending in ('.bbox.json', '.segm.json', '.json'):
        if name.endswith(ending):
            name = name[: -len(ending)]
            break
    files = {k: path.with_name(f'{name}.{k}.json') for k in ('bbox', 'segm')}
    files = {k: p for k, p in files.items() if p.is_file()}
    if path.is_file() and path not in files.values() and not files:
        files = {'bbox': path}
    if not files:
        raise UserError(
            f'no predictions {path} (nor {name}.bbox.json, {name}.segm.json); '
            '"selnext-mm test CONFIG CHECKPOINT --out FILE.json" writes them'
        )
    return files


def annotations_of(run: Run) -> tuple[Path | None, Path | None, list[str] | None]:
    """(annotation file, image folder, class names) that the run's test set names."""
    config = run.test_config or run.config
    if config is None:
        return None, None, None
    dataset = tested_dataset(config)
    split = 'test' if config.get('test_evaluator') else 'val'
    metrics = [metric for name, metric in iter_evaluators(config) if name == f'{split}_evaluator']
    root = Path(dataset.get('data_root') or '')
    files = [metric['ann_file'] for metric in metrics if metric.get('ann_file')]
    files += [root / dataset['ann_file']] if dataset.get('ann_file') else []
    ann = next((p for p in (find_path(f, run.folder) for f in files) if p), None)
    prefix = dataset.get('data_prefix') or {}
    prefix = prefix.get('img', prefix.get('img_path', '')) if isinstance(prefix, dict) else prefix
    images = find_path(root / (prefix or ''), run.folder)
    classes = (dataset.get('metainfo') or {}).get('classes')
    names = list(classes) if isinstance(classes, list | tuple) else None
    return ann, images, names
