"""Checks that need the config alone, not its labels, its model or its weights."""

from mmengine.config import Config

from selnext_mm.engine.preflight.fit import check_masks, check_mixing
from selnext_mm.engine.preflight.model_keys import check_model_keys
from selnext_mm.engine.preflight.monitors import check_monitored
from selnext_mm.engine.preflight.paths import check_paths
from selnext_mm.engine.preflight.values import check_numbers, check_types


def check_config(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Raise :class:`UserError` for types, numbers, keys and paths that no run can use.

    Args:
        cfg: a full config.
        loaders: names of the loaders that the run will use.
    """
    check_types(cfg)
    check_numbers(cfg)
    check_model_keys(cfg)
    check_masks(cfg, loaders)
    check_mixing(cfg, loaders)
    check_monitored(cfg, loaders)
    check_paths(cfg, loaders)
