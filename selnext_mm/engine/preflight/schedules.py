"""Check that the learning-rate schedule fits the length of the run."""

from collections.abc import Iterator, Mapping

from mmengine.config import Config

from selnext_mm.config.walk import iter_schedulers

LONG_WARM_UP = 0.3  # a warm-up over a larger share of the run is reported
WARM_UPS = ('LinearLR', 'ConstantLR', 'QuadraticWarmupLR')
# The argument that gives the length of one decay, where ``end`` is not given.
LENGTHS = {'CosineAnnealingLR': 'T_max', 'OneCycleLR': 'total_steps'}


def _kind(node: Mapping) -> str:
    return str(getattr(node.get('type'), '__name__', node.get('type'))).rpartition('.')[2]


def _inside(place: str, node: Mapping, length: int, unit: str) -> Iterator[str]:
    """A scheduler's own settings that do not fit its begin and end, or the run."""
    kind, begin, end = _kind(node), node.get('begin') or 0, node.get('end')
    ends = type(end) is int and end < 10**9  # mmengine's infinity
    period = node.get('T_max')
    whole = end - begin if ends else period
    if kind.startswith('CosineAnnealing') and type(period) is int and period != whole:
        what = 'rises again after it' if period < whole else 'never reaches its end'
        yield (
            f'{place}: {kind} takes {whole} {unit}s ({begin} to {end}) with T_max={period}: the lr '
            f'{what}; set {place}.T_max={whole}'
        )
    factor = node.get('start_factor', 1 / 3)
    converted = node.get('by_epoch', True) and node.get('convert_to_iter_based')
    if kind == 'LinearLR' and ends and end - begin == 1 and factor < 1 and not converted:
        yield (
            f'{place}: LinearLR over one {unit} ({begin} to {end}) takes no step: the lr stays at '
            f'{factor:g} of the one given for the whole run; set {place}.end={begin + 2} or more'
            + (f', or {place}.convert_to_iter_based=True' if unit == 'epoch' else '')
        )
    step = node.get('step_size') if kind == 'StepLR' else None
    if type(step) is int and begin + step >= length:
        yield (
            f'{place}: StepLR lowers the lr after {step} {unit}s, but the run ends after {length}; '
            f'set {place}.step_size to suit it'
        )
    if begin >= length and not ends:
        yield f'{place}: {kind} begins at {unit} {begin}, but the run ends after {length}'


def schedule_warnings(cfg: Config, epochs: int, iterations: int) -> list[str]:
    """A warning for each scheduler of the lr that ends long before the run does, or after it.

    Args:
        cfg: with ``param_scheduler``.
        epochs, iterations: length of the run; one epoch where it is counted in iterations.
    """
    if not iterations:
        return []
    found = []
    nodes = list(iter_schedulers(cfg))
    for place, node in nodes:
        by_epoch = node.get('by_epoch', True)
        length, unit = (epochs, 'epoch') if by_epoch else (iterations, 'iteration')
        begin, end = node.get('begin') or 0, node.get('end')
        kind = _kind(node)
        if end is None and node.get(LENGTHS.get(kind)) is not None:
            end = begin + node[LENGTHS[kind]]
        end = end if isinstance(end, int | float) and not isinstance(end, bool) else None
        found += _inside(place, node, length, unit)
        if isinstance(node.get('milestones'), list | tuple):
            late = [m for m in node['milestones'] if m >= length]
            if late and kind == 'MultiStepLR':
                found.append(
                    f'{place}: {kind} lowers the lr at {unit} {", ".join(map(str, late))}, but the '
                    f'run ends after {length}; set {place}.milestones to suit it'
                )
        elif kind in WARM_UPS and node.get('start_factor', node.get('factor', 0)) < 1:
            if end is not None and begin == 0 and end > LONG_WARM_UP * length:
                found.append(
                    f'{place}: the warm-up takes {end} of the {length} {unit}s of the run '
                    f'({end / length:.0%}), so that the lr is hardly ever the one given; shorten '
                    f'it: --cfg-options {place}.end={max(2, length // 20)}'
                )
        elif kind.endswith('LR') and end is not None and end != length:
            others = [n for _, n in nodes if n is not node]
            same = [n for n in others if n.get('by_epoch', True) == by_epoch]
            last = all((n.get('begin') or 0) < end for n in same)
            if end > length or last:
                what = 'never reaches its end' if end > length else 'stays at its last value after'
                found.append(
                    f'{place}: {kind} ends at {unit} {end}, the run after {length}: the lr {what}; '
                    f'set {place}.end={length}'
                    + (f' and {place}.{LENGTHS[kind]}={length - begin}' if kind in LENGTHS else '')
                )
    return found
