"""The parts of a comparison: configs, seeds, how much is trained and tested, and results.

Every run is a stock mmengine run in ``<out>/runs/<config>_seed<k>/`` and leaves ``result.json``
there; :mod:`.comparison.runs` executes it, :mod:`.comparison.table` writes the table.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mmengine.config import Config, ConfigDict

from selnext_mm.analysis.comparison.quick import use_quick_recipe
from selnext_mm.config.build import build_model, quiet
from selnext_mm.config.load import load_config
from selnext_mm.datasets.class_folders import Split, balanced, read_split, write_annotations
from selnext_mm.disk import write_json
from selnext_mm.errors import UserError

PLACES = ('expansion', 'block')
MIN_ITERATIONS = 20  # fewer hardly train anything, and leave no iterations for the warm-up


@dataclass(frozen=True)
class Protocol:
    """How much is trained and tested; None for ``epochs`` or ``size`` means the configs' own."""

    train_images: int
    all_train_images: int
    test_images: int
    all_test_images: int
    epochs: int | None
    size: int | None
    config_epochs: tuple[int, ...]
    config_sizes: tuple[int, ...]
    # Images per update of the quick recipe; None for the recipes of the configs.
    quick_batch_size: int | None = None

    @property
    def reduced(self) -> bool:
        epochs, size = max(self.config_epochs), max(self.config_sizes)
        return (
            (self.epochs or epochs) < epochs
            or (self.size or size) < size
            or self.train_images < self.all_train_images
            or self.test_images < self.all_test_images
        )

    def __str__(self) -> str:
        epochs = '/'.join(map(str, self.config_epochs))
        size = '/'.join(map(str, self.config_sizes))
        return (
            f'{self.train_images:,} of {self.all_train_images:,} training images, '
            f'{self.epochs or epochs} of {epochs} epochs, '
            f'{self.test_images:,} of {self.all_test_images:,} test images, '
            f'input {self.size or size} (the recipe: {size}) pixels'
            + (f', quick recipe in batches of {n}' if (n := self.quick_batch_size) else '')
        )


@dataclass(frozen=True)
class Model:
    """One config of the comparison; ``digest`` shows if a result is from exactly this config."""

    label: str
    cfg: Config
    digest: str
    params: int

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.cfg.train_dataloader.dataset.metainfo.classes)

    @property
    def size(self) -> int:
        return input_size(self.cfg)


@dataclass(frozen=True)
class Run:
    model: Model
    seed: int
    folder: Path

    def __str__(self) -> str:
        return f'{self.model.label} seed {self.seed}'


def resizes(cfg: Config) -> list[ConfigDict]:
    """The ``Resize`` transforms of the training and the test pipeline."""
    return [
        transform
        for loader in (cfg.train_dataloader, cfg.test_dataloader)
        for transform in loader.dataset.get('pipeline', [])
        if transform.type == 'Resize'
    ]


def input_size(cfg: Config) -> int:
    """Side of the model's square input, from the preprocessor, else from a ``Resize``."""
    size = cfg.data_preprocessor.get('size')
    return size or resizes(cfg)[0].scale[0]


def set_input_size(cfg: Config, size: int) -> None:
    """Change what :func:`input_size` reads, in place."""
    if 'size' in cfg.data_preprocessor:
        cfg.data_preprocessor.size = size
    for resize in resizes(cfg):
        resize.scale = (size, size)


def load_models(names: Sequence[str], quick_batch_size: int | None = None) -> list[Model]:
    """Read and build every config, with the quick recipe if its batch size is given.

    Raises:
        UserError: for a config that cannot be used, or two of the same name.
    """
    models: list[Model] = []
    for name in names:
        cfg = load_config(name)
        check_config(name, cfg)
        if quick_batch_size:
            use_quick_recipe(cfg, quick_batch_size)
        label = Path(cfg.filename).stem
        if label in [m.label for m in models]:
            raise UserError(f'{label} is named twice; runs are stored by the name of the config')
        text = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
        with quiet():
            params = sum(p.numel() for p in build_model(cfg).parameters())
        models.append(Model(label, cfg, hashlib.sha256(text.encode()).hexdigest()[:16], params))
        if models[-1].classes != models[0].classes:
            raise UserError(f'{label} has other classes than {models[0].label}')
    return models


def check_config(name: str, cfg: Config) -> None:
    """Check that a config has the entries that set length, size and data.

    Raises:
        UserError: if one is missing; the message names it.
    """
    dataset = cfg.get('train_dataloader', {}).get('dataset', {})
    kinds = [s.get('type') for s in cfg.get('param_scheduler') or []]
    missing = [
        what
        for what, there in (
            ('a CustomDataset', dataset.get('type') == 'CustomDataset'),
            ('metainfo.classes', dataset.get('metainfo', {}).get('classes')),
            ('one OneCycleLR', kinds == ['OneCycleLR']),
            ('a test_dataloader', cfg.get('test_dataloader')),
        )
        if not there
    ]
    if not missing and len(resizes(cfg)) != 2:
        missing = ['one Resize in each pipeline']
    if missing:
        raise UserError(
            f'{name} cannot be compared: it lacks {", ".join(missing)}; the configs in '
            'cls/cifar10/ have all that is needed'
        )


def plan(
    models: Sequence[Model],
    seeds: Sequence[int],
    root: Path,
    out: Path,
    epochs: int | None = None,
    train_images: int | None = None,
    test_images: int | None = None,
    size: int | None = None,
    quick_batch_size: int | None = None,
) -> tuple[list[Run], Protocol]:
    """The runs of a comparison, seed by seed, after all checks; writes the lists of images.

    Raises:
        UserError: for unusable data or numbers, or an ``out`` with runs of another protocol.
    """
    splits: dict[str, tuple[Split, Split]] = {}
    for name, number in (('train', train_images), ('test', test_images)):
        split = read_split(root, name, models[0].classes)
        splits[name] = split, balanced(split, number)
    protocol = Protocol(
        train_images=len(splits['train'][1]),
        all_train_images=len(splits['train'][0]),
        test_images=len(splits['test'][1]),
        all_test_images=len(splits['test'][0]),
        epochs=epochs,
        size=size,
        config_epochs=tuple(sorted({m.cfg.train_cfg.max_epochs for m in models})),
        config_sizes=tuple(sorted({m.size for m in models})),
        quick_batch_size=quick_batch_size,
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
    facts = {k: v for k, v in asdict(protocol).items() if not k.startswith('config_')}
    if not quick_batch_size:
        facts.pop('quick_batch_size')
    path = out / 'protocol.json'
    if not path.exists():
        write_json(path, facts)
    before = json.loads(path.read_text(encoding='utf-8'))
    if before != facts:
        other = ', '.join(
            f'{k} {before.get(k)} (now {facts.get(k)})'
            for k in {**facts, **before}
            if before.get(k) != facts.get(k)
        )
        raise UserError(f'{out} contains runs with {other}; give another --out')
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


def finished(run: Run) -> dict | None:
    """The result of a finished run, else None.

    Raises:
        UserError: if the config has changed since.
    """
    path = run.folder / 'result.json'
    if not path.is_file():
        return None
    result = json.loads(path.read_text(encoding='utf-8'))
    if result['config_digest'] != run.model.digest:
        raise UserError(
            f'{run.folder} was made when {run.model.label} had other values; remove that folder '
            'or give another --out'
        )
    return result
