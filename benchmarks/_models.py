"""Rows become modules: built, put into a state worth timing, and changed as their variants say."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from _rows import Row
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from selnext_mm.config.build import quiet
from selnext_mm.config_files import find_config
from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean

EXTRAS = {'timm': "pip install 'timm>=1.0.17'", 'mmpretrain': 'pip install mmpretrain==1.2.0'}
LARGEST_ERROR = 1e-3  # relative, of a variant in fp32; a merged PATNet has 1e-4


class UnavailableError(Exception):
    """A row that cannot be run here; the text says why, and what would change it."""


def need(package: str) -> None:
    """Raise :class:`UnavailableError` if ``package`` is not installed."""
    if find_spec(package) is None:
        remedy = EXTRAS.get(package, f'pip install {package}')
        raise UnavailableError(f'{package} is not installed ({remedy})')


class Logits(nn.Module):
    """The forward pass of an mmpretrain classifier without its data preprocessor."""

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(x, mode='tensor')


def packaged_config(source: str) -> Path:
    """The file of ``package::folder/name.py`` in an installed OpenMMLab package.

    Raises:
        UnavailableError: if the package is missing.
        UserError: if it has no such config.
    """
    package, _, name = source.partition('::')
    need(package)
    root = Path(find_spec(package).submodule_search_locations[0], '.mim', 'configs')
    path = root / name
    if not path.is_file():
        there = [p.relative_to(root).as_posix() for p in root.rglob('*.py')]
        raise UserError(f'{package} has no config {name!r}{did_you_mean(name, there, 3)}')
    return path


def build_timm(row: Row, name: str) -> nn.Module:
    need('timm')
    import timm

    if not timm.is_model(name):
        raise UserError(f'timm has no model {name!r}{did_you_mean(name, timm.list_models(), 3)}')
    return timm.create_model(name, **row.options)


def build(row: Row) -> nn.Module:
    """The module of ``row``, from images to logits, in eval mode and without loading weights.

    The dict of a backbone gives maps, or what that backbone returns.

    Raises:
        UnavailableError: if a package that the model needs is not installed.
        UserError: if its config or model does not exist, or is none of a classifier.
    """
    if isinstance(row.source, dict):
        scope, dot, _ = row.source['type'].partition('.')
        if dot:
            need(scope)
            import_module(f'{scope}.models')
        with quiet():
            model = MODELS.build(dict(row.source, **row.options))
        model.eval()  # mmpretrain's ConvNeXt returns None here, so no chain
        return model
    kind, separator, name = row.source.partition('::')
    if separator and kind == 'timm':
        return build_timm(row, name).eval()
    if separator and kind != 'selnext_mm':
        path = packaged_config(row.source)
    else:
        path = find_config(row.source)
        if path.suffix != '.py':
            raise UserError(f'{row.source}: a config ends in .py')
        need('mmpretrain')
    config = Config.fromfile(path)
    model = config.get('model')
    if model is None or model.get('type') != 'ImageClassifier':
        raise UserError(
            f'{row.source}: model.type is {model and model.get("type")!r}; this times classifiers '
            "(ImageClassifier). A detector's backbone is timed by a suite's row with a dict"
        )
    config.merge_from_dict({f'model.{key}': value for key, value in row.options.items()})
    with quiet(), DefaultScope.overwrite_default_scope(config.get('default_scope')):
        try:
            return Logits(MODELS.build(config.model)).eval()
        except UserError as error:  # FasterNet without timm
            raise UnavailableError(str(error)) from error


@torch.no_grad()
def settle_batch_norms(model: nn.Module, x: Tensor) -> None:
    """Give batch norms the statistics of ``x``.

    With those of an untrained model, mean 0 and variance 1, the signal of a deep one fades until
    it is subnormal, which processors compute many times slower.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    before = [m.momentum for m in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    model(x if len(x) > 1 else torch.cat([x, x.flip(-1)]))
    model.eval()
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def tensors(out: object) -> Iterator[Tensor]:
    """All tensors of an output."""
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, Iterable):
        for part in out:
            yield from tensors(part)


def relative_error(out: object, reference: object) -> float:
    """Largest deviation of a tensor of ``out``, over the largest entry of its reference."""
    pairs = zip(tensors(out), tensors(reference), strict=True)
    return max(float((a.float() - b.float()).abs().max() / b.float().abs().max()) for a, b in pairs)


def deploy(model: nn.Module) -> bool:
    """Call ``switch_to_deploy`` of the model or its backbone; returns whether there was one."""
    inner = getattr(model, 'classifier', model)
    for module in (inner, getattr(inner, 'backbone', None)):
        if hasattr(module, 'switch_to_deploy'):
            module.switch_to_deploy()
            return True
    return False


@dataclass(frozen=True)
class Candidate:
    """A row ready to be timed.

    ``call()`` is one pass; ``params`` are those of the module that it runs, after deployment where
    the row is deployed; ``error`` the relative error of the variant, or of the precision,
    against the plain model in fp32, None for the plain model; ``facts`` what else is to be
    reported of it.
    """

    row: Row
    call: Callable[[], object]
    params: int
    size: tuple[int, int]
    error: float | None
    facts: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Setting:
    """What holds for all rows of a run; ``autocast`` is a dtype or None, ``size`` overrides."""

    device: torch.device
    batch: int
    size: tuple[int, int]
    fixed_size: bool = False
    autocast: torch.dtype | None = None
    compile_mode: str = 'default'
    compile_backend: str = 'inductor'
    seed: int = 0


def autocast(setting: Setting) -> torch.autocast:
    """The context of the forward pass."""
    enabled = setting.autocast is not None
    return torch.autocast(setting.device.type, setting.autocast, enabled=enabled)


def start(row: Row, setting: Setting) -> tuple[nn.Module, Tensor, object]:
    """The plain model of ``row`` in eval mode, images for it, and its output for them.

    Raises:
        UnavailableError: if it cannot be built here.
        UserError: if it does not run at this size.
    """
    torch.manual_seed(setting.seed)
    model = build(row).to(setting.device)
    height, width = setting.size if setting.fixed_size or row.size is None else row.size
    x = torch.randn(setting.batch, 3, height, width).to(setting.device)
    try:
        settle_batch_norms(model, x)
        with torch.inference_mode():
            out = model(x)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0]
        raise UserError(f'{row.label} does not run at {height}x{width}: {reason}') from error
    if not all(t.isfinite().all() for t in tensors(out)):
        raise UserError(f'{row.label} gives values that are not finite')
    return model, x, out


def reshape(row: Row, setting: Setting, model: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    """Layout and compilation as the variants of ``row`` say."""
    if 'channels_last' in row.variants:
        model = model.to(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
    if 'compile' in row.variants:
        options = {'backend': setting.compile_backend}
        if setting.compile_backend == 'inductor':  # the only one that has modes
            options['mode'] = setting.compile_mode
        model = torch.compile(model, **options)
    return model, x


def make(row: Row, setting: Setting) -> Candidate:
    """Build ``row`` for inference and bring it into its variants.

    Raises:
        UnavailableError: if it cannot be run here, or has nothing to deploy.
        UserError: if it does not run at this size, or a variant computes something else.
    """
    model, x, reference = start(row, setting)
    if 'deploy' in row.variants and not deploy(model):
        raise UnavailableError('it has no switch_to_deploy')
    params = sum(p.numel() for p in model.parameters())
    model, x = reshape(row, setting, model, x)

    def forward() -> object:
        with torch.inference_mode(), autocast(setting):
            return model(x)

    error = None
    if row.variants or setting.autocast is not None:
        error = relative_error(forward(), reference)
        if setting.autocast is None and not error <= LARGEST_ERROR:
            raise UserError(
                f'{row.label} computes something else than the plain model: relative error '
                f'{error:.1e}, more than {LARGEST_ERROR:.0e}'
            )
    return Candidate(row, forward, params, tuple(x.shape[-2:]), error)
