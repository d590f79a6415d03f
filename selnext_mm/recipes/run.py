"""One call from labels to a trained, tested model: what ``selnext-mm train --data`` runs."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import get_type_hints

from mmengine.config import Config
from mmengine.dist import is_main_process

from selnext_mm.config_files import OWN_CONFIG
from selnext_mm.datasets.formats import DatasetInfo, find_dataset
from selnext_mm.disk import write_text
from selnext_mm.engine.distributed.collectives import from_first
from selnext_mm.engine.session import Session
from selnext_mm.errors import UserError, check_types, typed
from selnext_mm.ranks import is_first_process
from selnext_mm.recipes.folder import POINTER, claimed, folder_of_run, refuse_another_split
from selnext_mm.recipes.models import refuse_a_checkpoint
from selnext_mm.recipes.options import Options
from selnext_mm.recipes.resolve import resolve, write_config
from selnext_mm.text import did_you_mean

METRICS = 'results.json'  # the predictions are beside it
# metrics of the last lines -> their names
SHOWN = {
    'coco/bbox_mAP': 'box AP',
    'coco/bbox_mAP_50': 'box AP50',
    'coco/segm_mAP': 'mask AP',
    'coco/segm_mAP_50': 'mask AP50',
    'accuracy/top1': 'top-1 accuracy',
}


@dataclass(frozen=True)
class TrainResult:
    """The results of a training.

    Attributes:
        metrics: of the best checkpoint on the test split, or on val if there is none.
        split: which of the two.
        checkpoint: the best one by the metric of the task.
        config: the resolved config, without a base; its labels are in the cache.
        predictions: their files: boxes and masks in COCO's form, or the best classes per image.
        metrics_file: the metrics, and those of every class.
        report: an HTML page; None without the library for it.
        work_dir: the folder of all of these.
    """

    metrics: dict[str, float]
    split: str
    checkpoint: Path
    config: Path
    predictions: tuple[Path, ...]
    metrics_file: Path
    report: Path | None
    work_dir: Path


def best_checkpoint(folder: Path) -> Path:
    """The best checkpoint in a work dir, else the last.

    Raises:
        UserError: if there is none.
    """
    found = sorted(folder.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    if found:
        return found[-1]
    pointer = folder / POINTER
    last = (
        Path(pointer.read_text(encoding='utf-8').strip()) if pointer.is_file() else folder / 'none'
    )
    if not last.is_file():
        raise UserError(f'{folder} holds no checkpoint; was the training stopped? --resume goes on')
    return last


def _best_for_all(folder: Path) -> Path:
    """The first process's choice; others might still see files that it is removing."""
    found: Path | UserError | None = None
    if is_main_process():
        try:
            found = best_checkpoint(folder)
        except UserError as error:
            found = error
    found = from_first(found)
    if isinstance(found, UserError):
        raise found
    return found


@contextmanager
def _config_of_a_run(folder: Path) -> Iterator[list[Session]]:
    """Remove ``config.py`` again if a mistake is found before a session has a runner."""
    path, sessions = folder / OWN_CONFIG, list[Session]()
    before = path.read_text('utf-8') if path.is_file() else None
    try:
        yield sessions
    except UserError:
        if is_first_process() and not any(session.runner for session in sessions):
            if before is not None:
                write_text(path, before)
            else:
                path.unlink(missing_ok=True)
        raise


def plan(
    data: str | Path,
    model: str | None,
    options: Options,
    format: str | None = None,
    val: float | str | Path | None = None,
    say: Callable[[str], None] = print,
    resumed: Path | None = None,
) -> tuple[Config, list[str], DatasetInfo]:
    """Find the labels and resolve the config; return it, the choices made, and what was found.

    Every choice that was made for the user is passed to ``say``, one line each. ``resumed`` is the
    folder of the run that will go on, whose split of the labels is kept.
    """
    options.check()
    info = find_dataset(data, format=format, val=val, seed=options.seed)
    warning = refuse_another_split(resumed, info) if resumed else None
    cfg, lines = resolve(info, model, options)
    lines = [*info.choices, *lines]
    for line in [*lines, *([warning] if warning else [])]:
        say(f'  {line}')
    return cfg, lines, info


def closing(result: TrainResult, again: Sequence[str]) -> str:
    """The last lines of a run: the metric, where things are, and what to do next.

    Args:
        result: of :func:`train`.
        again: command-line arguments that choose the data and the model.
    """
    quote = shlex.quote
    config, weights = quote(str(result.config)), quote(str(result.checkpoint))
    predictions = [('predictions' if i == 0 else '', p) for i, p in enumerate(result.predictions)]
    score = ', '.join(
        f'{name} {result.metrics[key]:.3f}' for key, name in SHOWN.items() if key in result.metrics
    )
    report = f'  report        {result.report}\n' if result.report else ''
    return (
        f'\n{score} on the {result.split} split, by the best checkpoint\n\n'
        f'  best weights  {result.checkpoint}\n'
        f'{report}'
        + ''.join(f'  {name:12}  {path}\n' for name, path in predictions)
        + f'  metrics       {result.metrics_file}\n'
        f'  config        {result.config}\n\n'
        'What to do next\n'
        f'  selnext-mm predict {config} {weights} IMAGES --out predictions\n'
        f'  selnext-mm test {config} {weights}\n'
        f'  selnext-mm export {config} {weights} --to onnx --out model.onnx\n'
        f'  selnext-mm train {shlex.join(again)} --weights {weights}'
        f' --out {quote(str(result.work_dir))}_more'
    )


def add_report(folder: Path, say: Callable[[str], None]) -> Path | None:
    """Write ``report.html`` of a run; if that fails, report the reason and return None."""
    from selnext_mm.report.page import build_report

    page = folder / 'report.html'
    try:
        build_report([folder], page, say=lambda text: None)
    except UserError as error:
        say(f'no report: {error}')
        return None
    return page


@typed('train')
def train(
    data: str | Path,
    model: str | None = None,
    out: str | Path | None = None,
    format: str | None = None,
    val: float | str | Path | None = None,
    resume: bool = False,
    amp: bool = False,
    loggers: Iterable[str] = (),
    show_predictions: int | None = None,
    command: str = 'selnext_mm.train',
    say: Callable[[str], None] = print,
    **options,
) -> TrainResult:
    """Train a model on labels of any format, test its best checkpoint and write a report.

    >>> result = selnext_mm.train('cells/', model='selnext_atto', epochs=20)
    >>> result.metrics['coco/bbox_mAP'], result.checkpoint

    Args:
        data: a folder of labels in COCO, YOLO, Pascal VOC or LVIS format or of class folders, a
            COCO .json or a YOLO data.yaml.
        model: ``BACKBONE`` or ``DETECTOR/BACKBONE``, such as ``selnext_t`` or
            ``cascade_rcnn/selnext_s``; without a detector the labels decide.
        out: folder of the run; default ``work_dirs/<data>_<model>``.
        format: of the labels; None detects it.
        val: share of the training images, or folder, to validate on.
        resume: resume from the newest checkpoint of the run.
        amp: mixed precision (fp16).
        loggers: additional loggers: ``tensorboard``, ``wandb``, ``mlflow``, ``clearml``.
        show_predictions: number of images drawn with their predictions in each evaluation.
        command: recorded in the config as the command that wrote it.
        say: gets the lines about what was chosen.
        options: fields of :class:`~selnext_mm.recipes.options.Options`: ``epochs``,
            ``batch_size``, ``lr``, ``image_size``, ``workers``, ``seed``, ``patience``,
            ``weights``, ``freeze``, ``multi_scale``, ``mix``, ``weight_decay``, ``drop_path``,
            ``clip_grad``.

    Raises:
        UserError: for a mistake in the labels, the model or the options.
    """
    known = [field.name for field in fields(Options)]
    if unknown := sorted(set(options) - set(known)):
        raise UserError(
            f'train() has no option {unknown[0]!r}{did_you_mean(unknown[0], known)}; the options '
            f'are {", ".join(known)}'
        )
    if isinstance(options.get('weights'), Path):
        options['weights'] = str(options['weights'])
    check_types('train', get_type_hints(Options), options)
    chosen = Options(**options)
    if model:
        refuse_a_checkpoint(model)
    folder = folder_of_run(data, model, out, resume)  # told before the labels are read
    cfg, lines, info = plan(
        *(data, model, chosen, format, val, say),
        resumed=folder if resume else None,
    )
    with claimed(data, model, out, resume) as (folder, lock):
        folder = folder.absolute()
        with _config_of_a_run(folder) as sessions:
            config = write_config(cfg, lines, folder, command)
            say(f'  config with all of this: {config}')
            session = Session(config)
            session.work_dir_lock = lock  # held until the report is written
            sessions.append(session)
            session.train(
                resume='auto' if resume else None,
                amp=amp,
                loggers=loggers,
                show_predictions=show_predictions,
            )
        checkpoint = _best_for_all(folder)
        metrics = session.test(checkpoint, out=folder / METRICS)
        metrics_file, *predictions = from_first(session.written)
        report = add_report(folder, say) if is_main_process() else None
    split = 'test' if 'test' in info.splits else 'val'
    return TrainResult(
        *(metrics, split, checkpoint, config),
        *(tuple(sorted(predictions)), metrics_file, report, folder),
    )
