"""Measured configs compared with the figures that the papers print."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from selnext_mm.analysis.complexity import Complexity, measure
from selnext_mm.analysis.papers.figures import PAPER_FIGURES
from selnext_mm.analysis.papers.printed import PaperFigure, meets
from selnext_mm.config.build import quiet
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_root, find_config
from selnext_mm.errors import UserError


@dataclass(frozen=True)
class Row:
    """One measured model; ``failures`` lists what is not met and has no recorded reason."""

    config: str
    measured: Complexity
    paper: PaperFigure | None
    failures: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()

    @property
    def status(self) -> str:
        if self.paper is None:
            return '-'
        texts = [*self.failures, *self.differences]
        note = f' ({self.paper.note})' if self.paper.note else ''
        return (f'differs: {"; ".join(texts)}' if texts else 'ok') + note


def config_name(path: Path) -> str:
    """``mask_rcnn/selnext_t_3x_coco.py`` for a config of ours, the path as given otherwise."""
    root, resolved = config_root().resolve(), path.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)


def counted_params(measured: Complexity, paper: PaperFigure | None) -> int:
    """All parameters, or those that the paper counts."""
    return getattr(measured, paper.params_counter) if paper else measured.params


def compare(config: str, measured: Complexity, paper: PaperFigure | None) -> Row:
    """Compare ``measured`` with the printed figures; another image size has no printed FLOPs.

    A reason excuses that its own figure is not met, never a count other than the recorded one.
    """
    if paper is None:
        return Row(config, measured, None)
    params, flops = counted_params(measured, paper), getattr(measured, paper.counter)
    operations = 'MACs' if paper.counter == 'macs' else 'FLOPs'
    failures, differences = [], []
    if not meets(params, paper.params, 'params'):
        text = f'{params / 1e6:.3f} M params is not {paper.params}'
        known = differences if paper.params_reason else failures
        known.append(': '.join(filter(None, (text, paper.params_reason))))
    if params != paper.exact_params:
        failures.append(f'{params:,} params, not {paper.exact_params:,}')
    if not meets(flops, paper.flops, 'flops'):
        text = f'{flops / 1e9:.3f} G is not {paper.flops}'
        known = differences if paper.flops_reason else failures
        known.append(': '.join(filter(None, (text, paper.flops_reason))))
    if flops != paper.exact_flops:
        failures.append(f'{flops:,} {operations}, not {paper.exact_flops:,}')
    return Row(config, measured, paper, tuple(failures), tuple(differences))


def measure_quietly(path: Path, shape: tuple[int, int] | None, options: Mapping = {}) -> Complexity:
    """Measure without the lines that models log when they are built.

    ``options`` are values of ``cfg.model`` to change, by dotted key.
    """
    try:
        with quiet():
            config = path
            if options:
                config = load_config(path)
                config.merge_from_dict({f'model.{key}': value for key, value in options.items()})
            return measure(config, shape)
    except ImportError as error:
        raise UserError(
            f'{path} cannot be built: {error}. "selnext-mm doctor" checks the environment'
        ) from error


def figures_of(config: str) -> dict[str, PaperFigure | None]:
    """The printed figures of a config, and of a paper's models that are variants of it."""
    changed = {row: figure for row, figure in PAPER_FIGURES.items() if figure.config == config}
    return {config: PAPER_FIGURES.get(config), **changed}


def measure_rows(
    names: list[str], shape: tuple[int, int] | None = None
) -> Iterator[Row | tuple[str, str]]:
    """A row for each config, and for each printed model that is a variant of it.

    Args:
        names: configs; if empty, all that have printed figures.
        shape: image size (height, width) instead of the default; printed figures hold only for
        the default.

    Yields:
        Row | tuple[str, str]: a row; where nothing was named, (config, package) for one that needs
            a package that is not installed.

    Raises:
        UserError: for a config that cannot be found or built.
    """
    wanted = names or [name for name, figure in PAPER_FIGURES.items() if not figure.config]
    for path in [find_config(name) for name in wanted]:
        name = config_name(path)
        figures = {name: None} if shape else figures_of(name)
        needed = figures[name].requires if figures[name] else ''
        if not names and needed and find_spec(needed) is None:
            yield name, needed
            continue
        for row, paper in figures.items():
            options = paper.options if paper else {}
            yield compare(row, measure_quietly(path, shape, options), paper)
