"""The plots of ``feature-distance``, ``gate-scales`` and ``trade-off``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import torch
from matplotlib.figure import Figure

from selnext_mm.disk import new_file
from selnext_mm.visualization.draw import PALETTE

if TYPE_CHECKING:
    from selnext_mm.analysis.feature_distance import BlockDistance
    from selnext_mm.analysis.gate_scales import GateScales
    from selnext_mm.analysis.trade_off import Point

COLOURS = [tuple(v / 255 for v in rgb) for rgb in PALETTE]
MARKERS = 'osD^vP*X'
BEFORE, AFTER = COLOURS[1], COLOURS[0]  # blue and red, as in Fig. 3
MAX_CHANNELS = 240  # more points per panel would be indistinguishable


def save_figure(figure: Figure, out: str | Path) -> None:
    with new_file(Path(out)) as draft:
        figure.savefig(draft, dpi=140, facecolor='white')


def style(axes) -> None:
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)


def draw_distances(
    results: Mapping[str, Sequence['BlockDistance']], out: str | Path, note: str = ''
) -> None:
    """One line per model: mean distance over the block index; blocks with attention are shaded.

    Args:
        results: label -> blocks, as ``feature_distance`` returns them.
        out: the PNG to write.
        note: second line of the title.
    """
    figure = Figure(figsize=(8, 4.6), layout='constrained')
    axes = figure.add_subplot()
    with_attention = set()
    for i, (label, blocks) in enumerate(results.items()):
        x = [b.index for b in blocks]
        y = [b.mean for b in blocks]
        average = sum(y) / len(y)
        axes.plot(
            *(x, y),
            color=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            markersize=5,
            label=f'{label} (mean {average:.4f})',
        )
        with_attention |= {b.index for b in blocks if b.attention}
    if any(not b.attention for blocks in results.values() for b in blocks):
        for index in with_attention:
            axes.axvspan(index - 0.5, index + 0.5, color='0.5', alpha=0.1, linewidth=0)
    axes.axhline(0.5, color='0.4', linestyle=':', linewidth=1)
    axes.set(xlabel='block', ylabel='mean feature cosine distance')
    axes.set_ylim(bottom=0, top=max(0.54, axes.get_ylim()[1]))
    axes.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
    style(axes)
    axes.set_title(note, fontsize=9, color='0.35', loc='left')
    axes.legend(loc='best', fontsize=9, framealpha=0.9)
    save_figure(figure, out)


def draw_scales(
    results: Mapping[str, Sequence['GateScales']], out: str | Path, note: str = '', panels: int = 3
) -> None:
    """A row per model, ``panels`` of its modules spread over the depth: scales over the channels.

    Channels are sorted by their scale before the gate; blue before, red after.
    """
    rows = len(results)
    columns = max(min(panels, len(modules)) for modules in results.values())
    figure = Figure(figsize=(3.6 * columns + 0.6, 2.5 * rows + 0.6), layout='constrained')
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, (label, modules) in zip(grid, results.items(), strict=True):
        count = min(columns, len(modules))
        chosen = [modules[round(i * (len(modules) - 1) / max(1, count - 1))] for i in range(count)]
        for axes in row[count:]:
            axes.set_visible(False)
        for axes, scales in zip(row, chosen, strict=False):
            order = torch.argsort(scales.before)
            step = -(-len(order) // MAX_CHANNELS)
            order = order[::step]
            x = range(0, len(scales.before), step)
            axes.axhline(0, color='0.6', linewidth=0.7)
            axes.plot(x, scales.before[order], '.', color=BEFORE, markersize=3, label='before')
            axes.plot(x, scales.after[order], '.', color=AFTER, markersize=3, label='after')
            axes.set_title(f'{label}\n{scales.module}, {scales.kind}', fontsize=8, loc='left')
            axes.tick_params(labelsize=7)
            style(axes)
        row[0].set_ylabel('scale', fontsize=8)
    for axes in grid[-1]:
        axes.set_xlabel('channel, sorted by its scale before', fontsize=8)
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, markerscale=3, ncols=2, loc='outside upper right')
    figure.suptitle(note, fontsize=9, color='0.35')
    save_figure(figure, out)


def draw_trade_off(
    points: Sequence['Point'], out: str | Path, labels: Sequence[str] = (), note: str = ''
) -> None:
    """Accuracy over parameters, FLOPs and printed latency, and over every measured latency.

    Args:
        points: as ``trade_off`` returns them; a line joins the sizes of a family, and a hollow
            marker is a variant of it.
        out: the PNG to write.
        labels: of the measured latencies, a panel each.
        note: second line of the title.
    """
    panels: list[tuple[str, Callable]] = [
        ('parameters (M)', lambda p: p.params),
        ('FLOPs (G)', lambda p: p.flops),
        ('latency, paper (ms)', lambda p: p.latency),
    ]
    for label in labels:
        panels.append((f'latency, {label} (ms)', lambda p, label=label: p.measured.get(label)))
    figure = Figure(figsize=(3.9 * len(panels), 4.4), layout='constrained')
    grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    families = list(dict.fromkeys(p.family for p in points))
    for axes, (title, value) in zip(grid, panels, strict=True):
        for family in families:
            shown = [p for p in points if p.family == family and value(p) is not None]
            base, _, variant = family.partition(', ')
            i = families.index(base if base in families else family)
            ours = base in ('SELNeXt', 'PATNet')
            axes.plot(
                *([value(p) for p in shown], [p.accuracy for p in shown]),
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                markersize=6,
                markerfacecolor='white' if variant else None,
                linestyle='--' if variant else '-',
                linewidth=2.4 if ours else 1.2,
                zorder=3 if ours else 2,
                label=family,
            )
        axes.set_xlabel(title, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.margins(0.08)
        style(axes)
    grid[0].set_ylabel('top-1 accuracy (%)', fontsize=9)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, fontsize=8, ncols=min(7, len(names)), loc='outside lower center')
    figure.suptitle(note, fontsize=9, color='0.35')
    save_figure(figure, out)
