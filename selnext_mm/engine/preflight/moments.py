"""Settings that take effect at an epoch or iteration that the run does not reach."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from selnext_mm.config.walk import iter_hooks, iter_schedulers

# Hook -> its arguments for the epoch and the iteration from which on it is active.
BEGINNINGS = {
    'EMAHook': ('begin_epoch', 'begin_iter'),
    'PipelineSwitchHook': ('switch_epoch', None),
}
MONITORING = ('EarlyStoppingHook',)


def _kind(node: Mapping) -> str:
    return str(getattr(node.get('type'), '__name__', node.get('type'))).rpartition('.')[2]


def _late(place: str, key: str | None, node: Mapping, length: int, unit: str) -> Iterator[str]:
    value = node.get(key) if key else None
    if type(value) is int and value >= length > 0:
        yield (
            f'{place}: {key}={value} is not reached, the run ends after {unit} {length}: it would '
            f'do nothing; set a smaller {key}'
        )


def moment_warnings(cfg: Config, epochs: int, iterations: int) -> list[str]:
    """A warning for each thing that would never happen in the run.

    Args:
        cfg: a full config.
        epochs, iterations: length of the run; one epoch where it is counted in iterations.
    """
    found: list[str] = []
    loop = cfg.get('train_cfg') or {}
    by_epoch = 'max_iters' not in loop
    length, unit = (epochs, 'epoch') if by_epoch else (iterations, 'iteration')
    validated = bool(cfg.get('val_evaluator'))
    if validated:  # validation begins with that epoch, not after it
        begin = loop.get('val_begin')
        if type(begin) is int and begin > length > 0:
            found.append(
                f'train_cfg.val_begin={begin} is not reached, the run ends after {unit} {length}: '
                'there would be no validation; set a smaller one'
            )
    for hook in iter_hooks(cfg):
        kind = _kind(hook)
        for key, end, of in zip(
            BEGINNINGS.get(kind, ()), (epochs, iterations), ('epoch', 'iteration'), strict=False
        ):
            found += _late(kind, key, hook, end, of)
        waits = bool(hook.get('save_best')) or kind in MONITORING
        if waits and not validated:
            what = 'save_best of the checkpoint hook' if hook.get('save_best') else kind
            found.append(f'{what} waits for a metric, and the run has no validation: no effect')
        interval = hook.get('interval')
        never = type(interval) is int and interval > length and hook.get('save_last') is False
        if 'Checkpoint' in kind and never and hook.get('by_epoch', True) == by_epoch:
            found.append(
                f'the checkpoint hook saves every {interval} {unit}s, the run ends after {length}, '
                'and save_last is False: no checkpoint would be kept'
            )
    if not validated:
        found += [
            f'{place}: {_kind(node)} waits for a metric, and the run has no validation: no effect'
            for place, node in iter_schedulers(cfg)
            if _kind(node).startswith('ReduceOnPlateau') and node.get('monitor', 'loss') != 'loss'
        ]
    return found
