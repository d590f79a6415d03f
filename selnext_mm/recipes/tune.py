"""Search for the settings of a recipe on the user's labels: what ``selnext-mm tune`` runs."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from mmengine.device import get_device

from selnext_mm.disk import write_json
from selnext_mm.engine.session import Session
from selnext_mm.errors import UserError
from selnext_mm.recipes.folder import refuse_labels_folder
from selnext_mm.recipes.options import Options
from selnext_mm.recipes.resolve import DEFAULTS, write_config
from selnext_mm.recipes.run import plan
from selnext_mm.recipes.study import Current, Study, Trial, current_trials, load_optuna
from selnext_mm.text import counted, did_you_mean

SPACE = ('lr', 'weight_decay', 'drop_path', 'image_size')
STEP = 32  # pixels between two image sizes


@dataclass(frozen=True)
class TuneResult:
    """The results of a search.

    Attributes:
        metric: its name.
        trials: those that have ended, best first.
        best: the first of them; None if no trial has a score.
        folder: of the study and of the trials.
        running: numbers of the trials that other processes are still training; one of them may
            become the best, and the weights of ``best`` are then removed.
    """

    metric: str
    trials: list[Trial]
    best: Trial | None
    folder: Path
    running: list[int] = field(default_factory=list)


def check_names(names: Iterable[str], usual: dict[str, float]) -> list[str]:
    """The settings to search, in the order of :data:`SPACE`; by default all of the model."""
    names = [name.replace('-', '_') for name in names]
    for name in names:
        if name not in SPACE:
            raise UserError(
                f'--over {name}{did_you_mean(name, SPACE)}; choose from '
                f'{", ".join(SPACE).replace("_", "-")}'
            )
        if name not in usual:
            raise UserError(f'--over {name.replace("_", "-")}: this model has none')
    return [name for name in SPACE if name in usual and (not names or name in names)]


def suggest(trial, names: Iterable[str], usual: dict[str, float]) -> dict[str, Any]:
    """Settings of a trial, around the recipe's own.

    The lr from a tenth to ten times, logarithmic; weight decay 0.001 to 0.3, logarithmic; drop
    path 0 to 0.4; image sizes of 0.75, 1, 1.25 and 1.5 times, in steps of 32 pixels.
    """
    found: dict[str, Any] = {}
    for name in names:
        value = usual[name]
        if name == 'lr':
            found[name] = trial.suggest_float(name, value / 10, min(value * 10, 0.9), log=True)
        elif name == 'weight_decay':
            found[name] = trial.suggest_float(name, 1e-3, 0.3, log=True)
        elif name == 'drop_path':
            found[name] = trial.suggest_float(name, 0.0, 0.4, step=0.05)
        else:
            found[name] = trial.suggest_categorical(name, image_sizes(int(value)))
    return found


def image_sizes(usual: int) -> list[int]:
    sizes = {max(STEP, round(usual * share / STEP) * STEP) for share in (0.75, 1.25, 1.5)}
    return sorted({usual, *sizes})


def recipes_own(cfg, options: Options) -> dict[str, float]:
    """What the recipe chooses for the settings that can be searched."""
    kind = 'classifier' if cfg.model.type == 'ImageClassifier' else 'detector'
    size = options.image_size or DEFAULTS['cpu' if get_device() == 'cpu' else 'cuda'][kind]
    optimizer = cfg.optim_wrapper.optimizer
    usual = dict(lr=optimizer.lr, weight_decay=optimizer.weight_decay, image_size=size)
    if 'drop_path_rate' in cfg.model.backbone:
        usual['drop_path'] = cfg.model.backbone.drop_path_rate
    return usual


def tune(
    data: str | Path,
    model: str | None = None,
    trials: int = 20,
    out: str | Path = 'work_dirs/tune',
    over: Iterable[str] = (),
    format: str | None = None,
    val: float | str | Path | None = None,
    say: Callable[[str], None] = print,
    **options,
) -> TuneResult:
    """Train ``trials`` times with different settings; report the best and keep its weights.

    The first trial is the recipe as it is. The same call with the same ``out`` continues where an
    earlier one stopped; several processes with the same ``out`` share the trials. A trial whose
    metric is below the median of the others at the same epoch is stopped.

    Args:
        data: labels, as for :func:`selnext_mm.train`.
        model: as there.
        trials: total number, including those of earlier calls and of other processes.
        out: folder of the study and of the trials.
        over: the settings to search, of ``lr``, ``weight_decay``, ``drop_path`` and
            ``image_size``; all that the model has if empty.
        format, val, options: as for :func:`selnext_mm.train`.
        say: gets the lines about progress.

    Raises:
        UserError: for a mistake in the labels, the model or the options, or another study in
        ``out``.
    """
    known = [field.name for field in fields(Options)]
    if unknown := sorted(set(options) - set(known)):
        raise UserError(f'tune() has no option {unknown[0]!r}{did_you_mean(unknown[0], known)}')
    if trials < 1:
        raise UserError(f'--trials {trials}; expected 1 or more')
    base, folder = Options(**options), Path(out).expanduser().absolute()
    refuse_labels_folder(folder, data)
    load_optuna()

    def session_of(chosen: Options, name: str) -> Session:
        cfg, lines, _ = plan(data, model, chosen, format, val, say=lambda text: None)
        return Session(write_config(cfg, lines, folder / name, 'selnext-mm tune'))

    first = session_of(base, 'recipe')
    metric = first.cfg.default_hooks.checkpoint.save_best
    usual = recipes_own(first.cfg, base)
    names = check_names(over, usual)
    common = dict(data=str(Path(data).expanduser().absolute()), model=model, over=names)
    common |= dict(format=format, val=None if val is None else str(val))
    study = Study(folder, json.loads(json.dumps(common | asdict(base))), say)
    if study.is_new:
        study.study.enqueue_trial({name: usual[name] for name in names})
    _keep_the_best(folder, study, say)  # an interrupted trial has left its weights
    while study.begun() < trials:
        trial = study.ask()
        settings = suggest(trial, names, usual)
        shown = ', '.join(f'{name} {value:.3g}' for name, value in settings.items())
        say(f'trial {trial.number}: {shown}')
        current = Current(trial, metric)
        try:
            current_trials.append(current)
            session = session_of(replace(base, **settings), f'trial_{trial.number:03d}')
            hooks = session.cfg.get('custom_hooks') or []
            session.cfg.custom_hooks = [*hooks, dict(type='TrialHook')]
            session.train()
        except UserError as error:
            study.refuse(trial, str(error))
            if trial.number == 0:  # the recipe itself: the others would fail, too
                raise
            say(f'trial {trial.number} failed: {error}')
            continue
        finally:
            current_trials.pop()
        study.tell(trial, current)
        end = ' (stopped early)' if current.pruned else ''
        score = 'no score' if current.best is None else f'{metric} {current.best:.4f}'
        say(f'trial {trial.number}: {score} after {counted(current.epochs, "epoch")}{end}')
        _keep_the_best(folder, study, say, trial.number)
    running = study.running()  # first: a trial that ends now is in both lists, not in none
    rows = study.trials()
    best = next((row for row in rows if row.score is not None), None)
    result = TuneResult(metric, rows, best, folder, running)
    write_json(folder / 'trials.json', dict(metric=metric, trials=[asdict(row) for row in rows]))
    return result


def _keep_the_best(
    folder: Path, study: Study, say: Callable[[str], None], ended: int | None = None
) -> None:
    """Remove the weights of trials that are not the best, after trial ``ended``.

    Those of a former best are named: another process may have shown them to the user.
    """
    rows = study.trials()
    for number in [*study.cut_off(), *(row.number for row in rows[1:])]:
        paths = list((folder / f'trial_{number:03d}').glob('*.pth'))
        for path in paths:
            path.unlink(missing_ok=True)
        if paths and rows and number != ended:
            say(f'removed the weights of trial {number}; the best is trial {rows[0].number}')
