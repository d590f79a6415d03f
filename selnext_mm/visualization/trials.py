"""The plot of ``tune``: the score of each trial over each of its settings."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from selnext_mm.visualization.curves import AFTER, BEFORE, save_figure, style

if TYPE_CHECKING:
    from selnext_mm.recipes.study import Trial

LOGARITHMIC = ('lr', 'weight_decay')


def draw_trials(metric: str, trials: Sequence['Trial'], out: Path) -> Path:
    """One panel per setting: complete trials filled, those stopped early hollow, the best one red.

    Args:
        metric: the label of the scores.
        trials: best first; those without a score are left out.
        out: the PNG to write.
    """
    rows = [row for row in trials if row.score is not None]
    names = list(rows[0].settings)
    figure = Figure(figsize=(3.4 * len(names), 3.4), layout='constrained')
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        for row in reversed(rows):
            colour = AFTER if row is rows[0] else BEFORE
            axes.plot(
                row.settings[name],
                row.score,
                marker='o',
                color=colour,
                fillstyle='none' if row.state == 'pruned' else 'full',
            )
        if name in LOGARITHMIC:
            axes.set_xscale('log')
        axes.set_xlabel(name.replace('_', ' '))
        style(axes)
    panels[0].set_ylabel(metric)
    save_figure(figure, out)
    return out
