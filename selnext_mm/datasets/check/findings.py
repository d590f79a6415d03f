"""What a data check found: plain records, a table, JSON."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field

from selnext_mm.text import counted, short, visible

LEVELS = ('error', 'warn', 'note')
SHOWN = 3  # examples per finding


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or worth knowing.

    Attributes:
        level: ``error`` ruins or stops a run, ``warn`` loses data, ``note`` is for information.
        check: short name of the check, stable for scripts.
        text: what was found, in words, with counts.
        remedy: what to do about it.
        count: how many records it concerns.
        examples: the first few of them.
    """

    level: str
    check: str
    text: str
    remedy: str = ''
    count: int = 1
    examples: tuple[str, ...] = ()

    def sentence(self) -> str:
        shown = f' ({", ".join(self.examples)}{", ..." if self.count > SHOWN else ""})'
        text = self.text + (shown if self.examples else '')
        return f'{text}. {self.remedy}' if self.remedy else text


@dataclass
class Report:
    """Findings and counts of one data set.

    Attributes:
        name: which loader reads it, e.g. ``train_dataloader``.
        source: its annotation file or folder.
        images: number of images.
        objects: number of annotations (0 for classification).
        used: annotations, or images, that a run learns from.
        classes: class name -> [used annotations, images with one], in the order of the config.
        counted: False if only a part was read, so that the numbers mean nothing.
        paths: path of each image -> (width, height) as annotated, None if unknown.
    """

    name: str
    source: str
    images: int = 0
    objects: int = 0
    used: int = 0
    classes: dict[str, list[int]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    paths: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    counted: bool = True

    def add(
        self, level: str, check: str, text: str, remedy: str = '', examples: Iterable = (), **kwargs
    ) -> None:
        """Append a finding; ``count`` defaults to the number of examples."""
        examples = list(examples)
        kwargs.setdefault('count', len(examples) or 1)
        shown = tuple(map(short, examples[:SHOWN]))
        text, remedy = visible(text), visible(remedy)
        self.findings.append(Finding(level, check, text, remedy, examples=shown, **kwargs))

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.level == 'error']

    def as_dict(self) -> dict:
        """Plain data for ``--json``; the paths are left out."""
        result = asdict(self)
        del result['paths'], result['counted']
        result['classes'] = {
            name: dict(annotations=boxes, images=images)
            for name, (boxes, images) in self.classes.items()
        }
        return result


def table_lines(reports: Iterable[Report]) -> Iterator[tuple[str, str]]:
    """(style, line) pairs: each data set with its findings, then one table of the classes."""
    reports = list(reports)
    for report in reports:
        objects = f', {counted(report.objects, "annotation")}' if report.objects else ''
        yield '', f'{report.name}: {report.source}'
        yield '', f'  {counted(report.images, "image")}{objects}, {report.used} used'
        for finding in sorted(report.findings, key=lambda f: LEVELS.index(f.level)):
            examples = f' ({", ".join(finding.examples)}' if finding.examples else ''
            if examples:
                examples += ', ...)' if finding.count > len(finding.examples) else ')'
            style = 'FAIL' if finding.level == 'error' else finding.level
            yield style, f'  {finding.level:5} {finding.check:12} {finding.text}{examples}'
            if finding.remedy:
                yield '', f'        {"":12} {finding.remedy}'
        yield '', ''
    yield from _class_table(reports)


def _class_table(reports: list[Report]) -> Iterator[tuple[str, str]]:
    names = list(dict.fromkeys(name for report in reports for name in report.classes))
    if not names:
        return
    width = max(len('class'), *map(len, names))
    heads = [report.name.removesuffix('_dataloader') for report in reports]
    yield '', f'{"class":{width}}' + ''.join(f'{h:>10}{"images":>10}' for h in heads)
    for name in names:
        cells = [report.classes.get(name, [0, 0]) for report in reports]
        style = 'warn' if any(not boxes for boxes, _ in cells) else ''
        yield style, f'{name:{width}}' + ''.join(f'{a:10}{b:10}' for a, b in cells)
