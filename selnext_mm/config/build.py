"""The only builder of models from configs: it uses their scope, and fails with one message."""

import inspect
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS, DefaultScope, Registry
from torch import nn

from selnext_mm.config.scopes import check_scope
from selnext_mm.config.widths import check_widths
from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean, near


@contextmanager
def quiet(level: int = logging.INFO) -> Iterator[None]:
    """Suppress log lines up to ``level``, such as the remarks of models while they are built."""
    before = logging.root.manager.disable
    _disable(level)
    try:
        yield
    finally:
        _disable(before)


def _disable(level: int) -> None:
    """``logging.disable`` that also works for mmengine's loggers.

    A logger caches which levels are enabled until its manager clears the cache, and mmengine's
    loggers have no manager: they would log inside :func:`quiet`, or be silent after it.
    """
    logging.disable(level)
    for logger in MMLogger._instance_dict.values():
        logger._cache.clear()


def near_names(known: Registry, name: str) -> str:
    """'; did you mean ...?' for a name that the registry of the current scope lacks."""
    names = {n for r in (known, known.root) for n in r.module_dict}
    return did_you_mean(name.rpartition('.')[2], names)


def _parameters(known: Callable | None) -> list[str]:
    """Names of the arguments of a class or function, including those of its bases."""
    names = {}
    for cls in getattr(known, '__mro__', (known,)):
        try:
            names |= inspect.signature(cls).parameters
        except (TypeError, ValueError):
            continue
    return list(names)


def near_parameter(known: Callable | None, text: str) -> str:
    """' (did you mean ...?)' where ``text`` names an argument that ``known`` does not have."""
    match = re.search(r"unexpected keyword argument '(\w+)'", text)
    likely = near(match[1], _parameters(known), 1) if match else []
    return f' (did you mean {likely[0]}?)' if likely else ''


def build_model(cfg: Config, views: bool = False) -> nn.Module:
    """The model of a config; :class:`UserError` if it cannot be built.

    ``views``: also accept a model for test-time augmentation, which merges the predictions of
    another model. That inner model is returned, since checkpoints contain its weights.
    """
    check_scope(cfg)
    model = _build_model(cfg)
    if isinstance(model, BaseTTAModel):
        if not views:
            raise UserError(
                f'the model of {cfg.filename} is a {type(model).__name__}, which merges several '
                'views of an image in "selnext-mm test" alone; give the config of the model inside '
                'of it'
            )
        return model.module
    check_widths(cfg, model)
    return model


def _with_preprocessor(cfg: Config) -> dict:
    """``cfg.model`` with the top-level ``data_preprocessor``, as mmengine's runner adds it."""
    if not cfg.get('data_preprocessor') or 'data_preprocessor' in cfg.model:
        return cfg.model
    return ConfigDict(cfg.model, data_preprocessor=cfg.data_preprocessor)


def _build_model(cfg: Config) -> nn.Module:
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        try:
            return MODELS.build(_with_preprocessor(cfg))
        except UserError:
            raise
        # Whatever a constructor raises is caused by the arguments in the config.
        except Exception as error:
            text = str(error.args[0] if error.args else error).strip()
            text = (text.splitlines() or [type(error).__name__])[0]
            if match := re.search(r'(\S+) is not in the \S+ registry', text):
                with MODELS.switch_scope_and_registry(None) as scoped:
                    text = match[0] + near_names(scoped, match[1])
            elif match := re.search(r'(\w+)\.__init__\(\) got an unexpected keyword', text):
                with MODELS.switch_scope_and_registry(None) as scoped:
                    text += near_parameter(scoped.get(match[1]), text)
            if isinstance(error, ImportError) or 'is used but incompatible' in text:
                text += '. "selnext-mm doctor" checks the environment'
            raise UserError(
                f'the model of {cfg.filename} cannot be built: {type(error).__name__}: {text}'
            ) from error
