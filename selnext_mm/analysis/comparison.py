"""Several configs trained by one recipe on folders of pictures, with several seeds each.

Every run is a stock mmengine run in ``<out>/runs/<config>_seed<k>/`` and leaves ``result.json``
there; a second call repeats nothing that is finished, goes on with what was interrupted, and
leaves alone what another process holds, so that several processes can share the work.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import find_latest_checkpoint

from selnext_mm.analysis.complexity import build_model
from selnext_mm.analysis.feature_distance import feature_distance
from selnext_mm.analysis.machine import machine, versions
from selnext_mm.checkpoints.files import save_file
from selnext_mm.datasets.class_folders import Split, balanced, read_split, write_annotations
from selnext_mm.engine.config import load_config
from selnext_mm.engine.device import adapt_to_device
from selnext_mm.engine.runner import ConciseRunner
from selnext_mm.errors import UserError

PLACES = ('expansion', 'block')
MIN_ITERATIONS = 20  # fewer are no training, and leave the schedule no warm-up


@dataclass(frozen=True)
class Protocol:
    """How much is trained and tested; ``epochs`` None means the configs' own."""

    train_images: int
    all_train_images: int
    test_images: int
    all_test_images: int
    epochs: int | None
    config_epochs: tuple[int, ...]

    @property
    def reduced(self) -> bool:
        fewer = self.epochs is not None and self.epochs < max(self.config_epochs)
        return fewer or (self.train_images, self.test_images) != (
            self.all_train_images,
            self.all_test_images,
        )

    def __str__(self) -> str:
        own = '/'.join(map(str, self.config_epochs))
        return (
            f'{self.train_images:,} of {self.all_train_images:,} training images, '
            f'{self.epochs or own} of {own} epochs, '
            f'{self.test_images:,} of {self.all_test_images:,} test images'
        )


@dataclass(frozen=True)
class Model:
    """One config of the comparison; ``digest`` tells whether a result is of this very config."""

    label: str
    cfg: Config
    digest: str
    params: int


@dataclass(frozen=True)
class Run:
    model: Model
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f'{self.model.label} seed {self.seed}'


class QuietRunner(ConciseRunner):
    """The runner with its log in the file only; warnings still reach the screen."""

    def build_logger(self, *args, **kwargs) -> logging.Logger:
        logger = super().build_logger(*args, **kwargs)
        for handler in logger.handlers:
            if type(handler) is logging.StreamHandler:
                handler.setLevel(logging.WARNING)
        return logger


def load_models(names: Sequence[str]) -> list[Model]:
    """Read and build every config.

    Raises:
        UserError: for a config that cannot be used, or two of the same name.
    """
    models: list[Model] = []
    for name in names:
        cfg = load_config(name)
        dataset = cfg.get('train_dataloader', {}).get('dataset', {})
        classes = dataset.get('metainfo', {}).get('classes')
        kinds = [s.get('type') for s in cfg.get('param_scheduler') or []]
        if dataset.get('type') != 'CustomDataset' or not classes or kinds != ['OneCycleLR']:
            raise UserError(
                f'{name} cannot be compared: it needs a CustomDataset with metainfo.classes and '
                'one OneCycleLR, as the configs in cls/cifar10/ have'
            )
        label = Path(cfg.filename).stem
        if label in [m.label for m in models]:
            raise UserError(f'{label} is named twice; the runs are kept by the name of the config')
        if models and list(classes) != list(classes_of(models[0])):
            raise UserError(f'{label} has other classes than {models[0].label}')
        text = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
        with _quiet():
            params = sum(p.numel() for p in build_model(cfg).parameters())
        models.append(Model(label, cfg, hashlib.sha256(text.encode()).hexdigest()[:16], params))
    return models


def classes_of(model: Model) -> tuple[str, ...]:
    return tuple(model.cfg.train_dataloader.dataset.metainfo.classes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    logging.disable(logging.INFO)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def plan(
    models: Sequence[Model],
    seeds: Sequence[int],
    root: Path,
    out: Path,
    epochs: int | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
) -> tuple[list[Run], Protocol]:
    """The runs of a comparison, seed by seed, after all checks; writes the lists of pictures.

    Raises:
        UserError: for data, numbers or an ``out`` that do not fit.
    """
    classes = classes_of(models[0])
    splits: dict[str, tuple[Split, Split]] = {}
    for name, number in (('train', train_images), ('test', test_images)):
        split = read_split(root, name, classes)
        splits[name] = split, balanced(split, number)
    protocol = Protocol(
        train_images=len(splits['train'][1]),
        all_train_images=len(splits['train'][0]),
        test_images=len(splits['test'][1]),
        all_test_images=len(splits['test'][0]),
        epochs=epochs,
        config_epochs=tuple(sorted({m.cfg.train_cfg.max_epochs for m in models})),
    )
    for model in models:
        per_epoch = protocol.train_images // model.cfg.train_dataloader.batch_size
        iterations = per_epoch * (epochs or model.cfg.train_cfg.max_epochs)
        if iterations < MIN_ITERATIONS:
            raise UserError(
                f'{protocol} in batches of {model.cfg.train_dataloader.batch_size} are '
                f'{iterations} iterations; at least {MIN_ITERATIONS} are needed'
            )
    # One folder, one protocol: a table must not mix them.
    out.mkdir(parents=True, exist_ok=True)
    facts = asdict(protocol)
    facts.pop('config_epochs')
    path = out / 'protocol.json'
    if not path.exists():
        write_json(path, facts)
    before = json.loads(path.read_text())
    if before != facts:
        other = ', '.join(f'{k} {before.get(k)} (now {v})' for k, v in facts.items()
                          if before.get(k) != v)  # fmt: skip
        raise UserError(f'{out} holds runs with {other}; give another --out')
    for name, (_, chosen) in splits.items():
        write_annotations(chosen, out / f'{name}.txt')
    runs = [
        Run(model, seed, out / 'runs' / f'{model.label}_seed{seed}')
        for seed in seeds
        for model in models
    ]
    for run in runs:
        finished(run)
    return runs, protocol


def write_json(path: Path, value) -> None:
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    temporary.write_text(json.dumps(value, indent=1, allow_nan=False) + '\n')
    os.replace(temporary, path)


def finished(run: Run) -> dict | None:
    """The result of a finished run, else None.

    Raises:
        UserError: if the config was another one then.
    """
    path = run.folder / 'result.json'
    if not path.is_file():
        return None
    result = json.loads(path.read_text())
    if result['config_digest'] != run.model.digest:
        raise UserError(
            f'{run.folder} was made when {run.model.label} had other values; remove that folder '
            'or give another --out'
        )
    return result


@contextlib.contextmanager
def hold(run: Run) -> Iterator[bool]:
    """True while no other process works on this run; the system ends a dead process's hold."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with open(run.folder / 'lock', 'w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def run_config(run: Run, protocol: Protocol, root: Path, out: Path, workers: int | None) -> Config:
    """The runner's config: the model's with data, length, seed and folder of this run."""
    cfg = Config(run.model.cfg.to_dict())
    epochs = protocol.epochs or cfg.train_cfg.max_epochs
    cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
    cfg.param_scheduler[0].total_steps = epochs
    for name, split in (('train', 'train'), ('test', 'test')):
        loader = cfg[f'{name}_dataloader']
        loader.dataset.update(
            data_root=str(root), data_prefix=split, ann_file=str((out / f'{split}.txt').resolve())
        )
        if workers is None:
            workers = 0 if get_device() == 'cpu' else loader.num_workers
        loader.update(num_workers=workers, persistent_workers=workers > 0)
    # The test set is looked at once, after the last epoch.
    cfg.update(val_dataloader=None, val_cfg=None, val_evaluator=None)
    checkpoint = dict(type='CheckpointHook', interval=1, max_keep_ckpts=1, save_best=None)
    cfg.default_hooks.update(checkpoint=checkpoint)
    cfg.randomness = dict(seed=run.seed, deterministic=False)
    cfg.experiment_name = run.folder.name
    cfg.work_dir = str(run.folder)
    cfg.launcher = 'none'
    latest = find_latest_checkpoint(str(run.folder))
    if latest:
        latest = run.folder / Path(latest).name  # the folder may have been moved
        if latest.is_file():
            cfg.update(resume=True, load_from=str(latest))
    adapt_to_device(cfg)
    return cfg


def execute(
    run: Run, protocol: Protocol, root: Path, out: Path, workers: int | None = None
) -> dict:
    """Train, test, measure the feature distance on the test pictures; write ``result.json``."""
    started = time.time()
    cfg = run_config(run, protocol, root, out, workers)
    runner = QuietRunner.from_cfg(cfg)
    runner.train()
    trained = time.time()
    accuracy = float(runner.test()['accuracy/top1'])
    model = runner.model.eval()
    distance = {place: distances(model, runner.test_dataloader, place) for place in PLACES}
    result = dict(
        config=run.model.label,
        config_digest=run.model.digest,
        seed=run.seed,
        top1=accuracy,
        distance=distance,
        params=run.model.params,
        epochs=cfg.train_cfg.max_epochs,
        resumed=bool(cfg.resume),
        seconds=round(time.time() - started, 1),
        train_seconds=round(trained - started, 1),
        machine=machine(),
        versions=versions(),
    )
    weights = {key: value for key, value in model.state_dict().items()}
    save_file(weights, run.folder / 'weights.pth', dict(config=run.model.label, seed=run.seed))
    write_json(run.folder / 'result.json', result)
    for path in (*run.folder.glob('epoch_*.pth'), run.folder / 'last_checkpoint'):
        path.unlink(missing_ok=True)
    return result


def distances(model: torch.nn.Module, loader, place: str) -> dict | None:
    """Mean over blocks and each block's value; None where the model has no such place."""

    def inputs():
        for batch in loader:
            yield model.data_preprocessor(batch, False)['inputs']

    try:
        blocks = feature_distance(model, inputs(), place)
    except UserError:  # a ResNet has no expansion layers
        return None
    return dict(
        mean=sum(b.mean for b in blocks) / len(blocks),
        blocks={b.block: b.mean for b in blocks},
    )


def run_all(
    runs: Sequence[Run],
    protocol: Protocol,
    root: Path,
    out: Path,
    workers: int | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Execute what is not finished, with a line before and after each run."""
    todo = [run for run in runs if not finished(run)]
    say(f'{len(runs)} runs, {len(runs) - len(todo)} finished before')
    spent: list[float] = []
    for i, run in enumerate(todo):
        with hold(run) as free:
            if not free:
                say(f'{run}: another process works on it')
                continue
            if finished(run):  # by another process, meanwhile
                continue
            say(f'[{i + 1}/{len(todo)}] {run} ...')
            result = execute(run, protocol, root, out, workers)
        spent.append(result['seconds'])
        left = sum(not finished(r) for r in todo)
        minutes = left * sum(spent) / len(spent) / 60
        eta = f'{left} left, about {minutes:.0f} min' if left else 'none left'
        say(f'    top-1 {result["top1"]:.1f} %, {result["seconds"]:.0f} s; {eta}')
