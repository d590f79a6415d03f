"""The trials of ``selnext-mm tune``: which process runs them, how they end, which are pruned."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from selnext_mm.errors import UserError
from selnext_mm.text import short

STUDY = 'study.log'
SETTINGS = 'settings'  # key in the study: what all its trials have in common
OWNER = 'owner'  # key in a trial: the machine and process that run it
REFUSED = 'refused'  # key in a trial: why it could not be trained


@dataclass
class Current:
    """The trial that this process is training; its hook looks it up here."""

    trial: Any
    metric: str
    best: float | None = None
    epochs: int = 0
    pruned: bool = False


current_trials: list[Current] = []


@HOOKS.register_module()
class TrialHook(Hook):
    """Report every evaluation to the trial, and stop a run that is worse than the others."""

    def after_val_epoch(self, runner, metrics=None) -> None:
        current = current_trials[-1]
        value = float((metrics or {})[current.metric])
        current.epochs = runner.epoch
        current.best = value if current.best is None else max(current.best, value)
        current.trial.report(value, runner.epoch)
        if current.trial.should_prune():
            current.pruned = runner.train_loop.stop_training = True


@dataclass(frozen=True)
class Trial:
    """One row of the table.

    Attributes:
        number: number of the trial, and of its folder.
        state: ``complete``, ``pruned`` (stopped early) or ``failed``.
        score: the best value of the metric, on the val split; None without an evaluation.
        settings: what the sampler chose.
    """

    number: int
    state: str
    score: float | None
    settings: dict[str, float]


def load_optuna():
    try:
        import optuna
    except ImportError as error:
        raise UserError(f'tune: {error}; pip install "selnext_mm[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _alive(owner: str) -> bool:
    import psutil

    host, _, process = owner.partition(':')
    return host != socket.gethostname() or psutil.pid_exists(int(process))


class Study:
    """The trials of one folder; several processes may work on them, also on several machines."""

    def __init__(self, folder: Path, settings: dict[str, Any], say: Callable[[str], None]) -> None:
        optuna = self.optuna = load_optuna()
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        folder.mkdir(parents=True, exist_ok=True)
        self.study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(folder / STUDY))),
            study_name='tune',
            direction='maximize',
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=os.getpid(), n_startup_trials=5),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        )
        former = self.study.user_attrs.get(SETTINGS)
        self.is_new = former is None
        former = settings if former is None else former
        changed = [k for k in settings if settings[k] != former.get(k)]
        if changed:
            raise UserError(
                f'{folder} holds a study with other settings: '
                + ', '.join(
                    f'{k} {short(former.get(k))}, now {short(settings[k])}' for k in changed
                )
                + '; name another --out'
            )
        if self.is_new:
            self.study.set_user_attr(SETTINGS, settings)
        self._take_back(say)

    def _take_back(self, say: Callable[[str], None]) -> None:
        """Take over trials of dead processes: their settings are tried again."""
        state = self.optuna.trial.TrialState
        for trial in self.study.get_trials(states=[state.RUNNING]):
            owner = trial.user_attrs.get(OWNER)
            if owner is None or _alive(owner):
                continue
            self.study.tell(trial.number, state=state.FAIL)
            self.study.enqueue_trial(trial.params)
            say(f'trial {trial.number} was cut off; its settings are tried again')

    def begun(self) -> int:
        """Number of trials that have ended or are running, without interrupted ones."""
        counted = ('COMPLETE', 'PRUNED', 'RUNNING')
        trials = self.study.get_trials(deepcopy=False)
        return sum(t.state.name in counted or REFUSED in t.user_attrs for t in trials)

    def running(self) -> list[int]:
        """Numbers of the trials that other processes, which live, are training."""
        state = self.optuna.trial.TrialState
        trials = self.study.get_trials(deepcopy=False, states=[state.RUNNING])
        return [t.number for t in trials if _alive(t.user_attrs.get(OWNER, ':0'))]

    def cut_off(self) -> list[int]:
        """Numbers of the trials of dead processes, whose settings are tried again."""
        state = self.optuna.trial.TrialState
        trials = self.study.get_trials(deepcopy=False, states=[state.FAIL])
        return [t.number for t in trials if REFUSED not in t.user_attrs]

    def ask(self):
        trial = self.study.ask()
        trial.set_user_attr(OWNER, f'{socket.gethostname()}:{os.getpid()}')
        return trial

    def tell(self, trial, current: Current) -> None:
        state = self.optuna.trial.TrialState
        trial.set_user_attr('score', current.best)
        if current.best is None:
            self.refuse(trial, 'no evaluation')
        elif current.pruned:
            self.study.tell(trial, state=state.PRUNED)
        else:
            self.study.tell(trial, current.best)

    def refuse(self, trial, reason: str) -> None:
        trial.set_user_attr(REFUSED, reason)
        self.study.tell(trial, state=self.optuna.trial.TrialState.FAIL)

    def trials(self) -> list[Trial]:
        """Finished trials, best first, without interrupted ones."""
        names = {'COMPLETE': 'complete', 'PRUNED': 'pruned', 'FAIL': 'failed'}
        rows = [
            Trial(t.number, names[t.state.name], t.user_attrs.get('score'), dict(t.params))
            for t in self.study.get_trials(deepcopy=False)
            if t.state.name in names and (t.state.name != 'FAIL' or REFUSED in t.user_attrs)
        ]
        return sorted(rows, key=lambda row: (row.score is None, -(row.score or 0.0), row.number))
