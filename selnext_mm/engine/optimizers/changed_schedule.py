"""The learning-rate schedule of the config on resume."""

import copy

# Counters of a scheduler; the rest of its state is from the config. The last three belong to
# ReduceOnPlateau...
PROGRESS = {
    'last_step', '_global_step', '_last_value', 'optimizer', 'verbose',
    'best', 'num_bad_epochs', 'cooldown_counter',
}  # fmt: skip


def _settings(state: dict) -> dict:
    return {k: v for k, v in state.items() if k not in PROGRESS and not callable(v)}


class Schedule:
    """The schedulers as built from the config, to be compared with those of a checkpoint.

    mmengine silently prefers the checkpoint's schedule to the config's: a run resumed with
    other epochs or another lr keeps the old ones. Here equal schedules stay as loaded, and a
    changed one is replaced by the config's, stepped to the current iteration.
    """

    def __init__(self, runner) -> None:
        schedulers = runner.param_schedulers
        self.known = isinstance(schedulers, list) and bool(schedulers)
        if self.known:
            self.fresh = [self._state(s) for s in schedulers]
            self.values = [dict(g) for g in self._groups(schedulers[0].optimizer)]

    @staticmethod
    def _groups(optimizer) -> list[dict]:
        return optimizer.param_groups

    @staticmethod
    def _state(scheduler) -> dict:
        return {k: copy.copy(v) for k, v in scheduler.__dict__.items() if k != 'optimizer'}

    def changes(self, kinds: list[str], loaded: list[dict]) -> list[str]:
        """The settings in which the config differs from the checkpoint, one string each."""
        if len(loaded) != len(self.fresh):
            return [f'{len(loaded)} schedulers -> {len(self.fresh)}']
        texts = []
        for kind, old, fresh in zip(kinds, loaded, self.fresh, strict=True):
            before, after = _settings(old), _settings(fresh)
            texts += [
                f'{kind}.{key.removeprefix("_")} {_short(before.get(key))} -> '
                f'{_short(after.get(key))}'
                for key in sorted(before.keys() | after.keys())
                if before.get(key) != after.get(key)
            ]
        return texts

    def apply_changes(self, runner, loaded) -> None:
        """Continue with the config's schedule if it differs from ``loaded``, the checkpoint's."""
        schedulers = runner.param_schedulers
        if not self.known or not runner.iter or not isinstance(loaded, list):
            return
        changes = self.changes([type(s).__name__ for s in schedulers], loaded)
        if not changes:
            return
        before = max(g['lr'] for g in self._groups(schedulers[0].optimizer))
        pairs = list(zip(schedulers, self.fresh, strict=True))
        moved = [(s, f) for s, f in pairs if not getattr(s, 'need_val_args', False)]
        for scheduler, fresh in pairs:
            if (scheduler, fresh) not in moved:
                # Its steps depend on evaluation results: the counters stay, the settings change.
                scheduler.__dict__.update(_settings(fresh))
        if len(loaded) != len(pairs) or any(
            _settings(old) != _settings(fresh)
            for old, (s, fresh) in zip(loaded, pairs, strict=True)
            if (s, fresh) in moved
        ):
            self._rewind(moved)
            self._replay([s for s, _ in moved], runner)
        after = max(g['lr'] for g in self._groups(schedulers[0].optimizer))
        runner.logger.warning(
            f'the schedule was changed since the checkpoint ({", ".join(changes)}): the run goes '
            f'on with that of the config, lr {after:.3g} where it was {before:.3g}'
        )

    def _rewind(self, moved: list) -> None:
        for scheduler, fresh in moved:
            for key in [k for k in scheduler.__dict__ if k != 'optimizer']:
                del scheduler.__dict__[key]
            scheduler.__dict__.update(fresh)
            names = {scheduler.param_name, f'initial_{scheduler.param_name}'}
            groups = self._groups(scheduler.optimizer)
            for group, value in zip(groups, self.values, strict=True):
                group.update({k: v for k, v in value.items() if k in names})
            # Otherwise torch would warn that the scheduler steps before the optimizer.
            scheduler.optimizer._global_step = max(scheduler.optimizer._global_step, 1)

    @staticmethod
    def _replay(schedulers: list, runner) -> None:
        """Repeat the steps of the training: iterations, and epochs between them."""
        by_iter = [s for s in schedulers if not s.by_epoch]
        by_epoch = [s for s in schedulers if s.by_epoch]
        epochs = runner.epoch
        per_epoch = min(len(runner.train_dataloader), runner.iter // epochs) if epochs else 0
        for step in range(1, runner.iter + 1):
            for scheduler in by_iter:
                scheduler.step()
            if per_epoch and step % per_epoch == 0 and step // per_epoch <= epochs:
                for scheduler in by_epoch:
                    scheduler.step()


def _short(value) -> str:
    if isinstance(value, list):
        return f'{value[0]:g}..' if value and isinstance(value[0], float) else f'{value!s:.20}'
    return f'{value:g}' if isinstance(value, float) else str(value)
