"""What a suite consists of: rows that name a model, and the papers' figures beside them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

VARIANTS = ('deploy', 'compile', 'channels_last')


@dataclass(frozen=True)
class Row:
    """One model of a table.

    Attributes:
        name: what the table calls it.
        source: a config of ours (``cls/selnext_t_in1k.py``), one of an installed package
            (``mmpretrain::...``), a model of timm (``timm::ghostnet_130``), or the dict of a
            backbone, which needs no more than the package of its type.
        baseline: label, or name alone, of the row that its ratio refers to; empty: the first.
        paper: printed figure by device, digit for digit.
        options: values of ``cfg.model`` to change, by dotted key; arguments for timm.
        variants: of :data:`VARIANTS`.
        size: (height, width) where it is not the suite's.
    """

    name: str
    source: str | dict
    baseline: str = ''
    paper: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)
    variants: tuple[str, ...] = ()
    size: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """Name and variants, unique in a run."""
        return '@'.join((self.name, *self.variants))

    def with_variants(self, *variants: str) -> 'Row':
        """The same model in these variants as well, in the order of :data:`VARIANTS`."""
        wanted = {*self.variants, *variants}
        return replace(self, variants=tuple(v for v in VARIANTS if v in wanted))


@dataclass(frozen=True)
class Suite:
    """A table.

    Attributes:
        title: what it shows.
        rows: its models.
        size: (height, width).
        batch: images, by device.
        threads: threads of the CPU; 0 leaves torch's default.
        paper: by device, what the printed figures are: ``'s'`` or ``'ms'`` per batch, or
            ``'images/s'``, and where they were measured.
    """

    title: str
    rows: tuple[Row, ...]
    size: tuple[int, int] = (224, 224)
    batch: dict = field(default_factory=lambda: dict(cpu=8, cuda=96))
    threads: int = 0
    paper: dict = field(default_factory=dict)


def find_baseline(row: Row, rows: Iterable[Row]) -> Row | None:
    """The row among ``rows`` that ``row`` is compared with; None if it is not there.

    Options that hold for a whole run (``--compile``) change all labels but no name.
    """
    rows = list(rows)
    if not row.baseline:
        return rows[0] if rows else None
    by_label = [other for other in rows if other.label == row.baseline]
    by_name = [other for other in rows if other.name == row.baseline.split('@')[0]]
    return next(iter(by_label + by_name), None)


def printed_number(text: str) -> float:
    """The value of a printed figure: 0.157 of ``'0.157 ± 0.001'``."""
    return float(re.match(r'[\d.]+', text)[0])


def paper_ratio(suite: Suite, row: Row, baseline: Row, device: str) -> float | None:
    """Time of ``row`` over that of ``baseline`` as printed; None where a figure is missing."""
    if not all(device in figures for figures in (suite.paper, row.paper, baseline.paper)):
        return None
    ratio = printed_number(row.paper[device]) / printed_number(baseline.paper[device])
    unit, _ = suite.paper[device]
    return 1 / ratio if unit == 'images/s' else ratio
