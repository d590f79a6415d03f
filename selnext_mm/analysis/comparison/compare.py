"""A whole comparison: amount of data, processes and the table."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.device import get_device

from selnext_mm.analysis.comparison.plan import Protocol, Run, load_models, plan
from selnext_mm.analysis.comparison.quick import BATCH_SIZE
from selnext_mm.analysis.comparison.runs import run_all
from selnext_mm.analysis.comparison.table import write_tables
from selnext_mm.compat import silence_known_warnings
from selnext_mm.config_files import config_leaves
from selnext_mm.datasets.class_folders import ARCHIVES, find_root, is_archive, unpack
from selnext_mm.errors import UserError

FOLDER = 'cls/cifar10'
# What two cores can do in about half an hour for fourteen configs and three seeds.
REDUCED = dict(train_images=4000, val_images=1000, epochs=5, size=32)
# For the quick recipe: two to seven minutes for each run of an atto model, by the processor.
QUICK_REDUCED = dict(train_images=4000, val_images=2000, epochs=5, size=64)
QUICK_CPU_BATCH = 64


@dataclass(frozen=True)
class Comparison:
    """The settings of a comparison; the fields are the options of ``selnext-mm compare``.

    Raises:
        UserError: for a number out of range; the message names the option.
    """

    data_root: str | Path
    out: str | Path
    configs: Sequence[str] = ()
    seeds: Sequence[int] = (0, 1, 2)
    recipe: str = 'own'
    batch_size: int | None = None
    parallel: int = 1
    train_images: int | None = None
    val_images: int | None = None
    epochs: int | None = None
    size: int | None = None
    threads: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        for name, low in (
            *(('train_images', 0), ('val_images', 0), ('epochs', 0), ('size', 0)),
            *(('threads', 1), ('workers', 0), ('batch_size', 2), ('parallel', 1)),
        ):
            value = getattr(self, name)
            if value is not None and value < low:
                option = name.replace('_', '-')
                raise UserError(f'--{option} {value}; expected {low} or more')
        if self.size and self.size < 32:
            raise UserError(f'--size {self.size}; the backbones need 32 or more')
        if self.batch_size and self.recipe != 'quick':
            raise UserError(
                f'--batch-size {self.batch_size} needs --recipe quick; configs have theirs'
            )
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise UserError(f'--seeds {list(self.seeds)}; expected different numbers from 0 on')

    def amounts(self, cpu: bool) -> dict[str, int | None]:
        """How much is trained and tested; None means all, or the config's own value."""
        amount: dict[str, int | None] = {}
        for name, reduced in (QUICK_REDUCED if self.recipe == 'quick' else REDUCED).items():
            given = getattr(self, name)
            if given is None:
                given = reduced if cpu else 0
            amount[name.replace('val', 'test')] = given or None
        if self.recipe == 'quick':
            amount['quick_batch_size'] = self.batch_size or (QUICK_CPU_BATCH if cpu else BATCH_SIZE)
        return amount

    def planned(self) -> tuple[list[Run], Protocol, Path]:
        """(runs, protocol, folder of the data)."""
        silence_known_warnings()
        if self.threads or self.parallel > 1:
            torch.set_num_threads(self.threads or max(1, (os.cpu_count() or 1) // self.parallel))
        names = self.configs or [x for x in config_leaves() if x.startswith(f'{FOLDER}/')]
        amount = self.amounts(get_device() == 'cpu')
        models = load_models(names, amount.get('quick_batch_size'))
        root = find_images(self.data_root, Path(self.out))
        runs, protocol = plan(models, self.seeds, root, Path(self.out), **amount)
        return runs, protocol, root


def find_images(given: str | Path, out: Path) -> Path:
    """The folder with ``train`` and ``test``; an archive is unpacked beside ``out``."""
    path = Path(given).expanduser()
    if path.is_file() and not is_archive(path):
        raise UserError(f'--data-root {given}; expected a folder or one of {", ".join(ARCHIVES)}')
    if is_archive(path):
        path = unpack(path, out.absolute().parent / f'{path.name.split(".")[0]}_unpacked')
    return find_root(path).resolve()


def _say(text: str) -> None:
    print(text, flush=True)


def _share(comparison: Comparison) -> None:
    """Work on the runs of another process's comparison."""
    runs, protocol, root = comparison.planned()
    run_all(runs, protocol, root, Path(comparison.out), comparison.workers, _say)


def compare(
    comparison: Comparison,
    command: str,
    table_only: bool = False,
    say: Callable[[str], None] = _say,
) -> str:
    """Train, test and measure what is not finished yet, and write the tables.

    Args:
        command: printed below the table.
        table_only: run nothing, write the table of what is finished.
        say: called with a line for each step, and with the table.

    Returns:
        str: the table, which is also in ``out/comparison.md``, ``.csv`` and ``.json``; they are
        written even if the runs end early.

    Raises:
        UserError: for configs or data that do not fit, and if a process fails.
    """
    runs, protocol, root = comparison.planned()
    out = Path(comparison.out)
    say(f'{"REDUCED" if protocol.reduced else "FULL"} comparison on {get_device()}: {protocol}')
    spawn = multiprocessing.get_context('spawn')
    others = [
        spawn.Process(target=_share, args=(comparison,)) for _ in range(comparison.parallel - 1)
    ]
    try:
        if not table_only:
            for other in others:
                other.start()
            run_all(runs, protocol, root, out, comparison.workers, say)
            for other in others:
                other.join()
    finally:
        text = write_tables(runs, protocol, out, command)
    say(f'\n{text}\nwrote {out / "comparison.md"}, .csv and .json')
    if any(other.exitcode for other in others):
        raise UserError('a process of --parallel failed, see above; the same command goes on')
    return text
