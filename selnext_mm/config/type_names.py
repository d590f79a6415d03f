"""Names for the classes in mmengine's pure-Python configs, such as ``type=CocoDataset``."""

import inspect

from mmengine import registry as root
from mmengine.config import Config
from mmengine.registry import Registry

REGISTRIES = [r for n, r in vars(root).items() if n.isupper() and isinstance(r, Registry)]
# Keys whose value is the class to build.
KEYS = ('type', 'constructor', 'runner_type')


def name_of(kind) -> str:
    """The name under which a registry has ``kind``: 'AdamW', 'mmdet.CocoDataset', or its path."""
    name = kind.__name__
    for registry in REGISTRIES:
        if registry.module_dict.get(name) is kind and not any(
            name in child.module_dict for child in registry.children.values()
        ):
            return name
        for scope, child in registry.children.items():
            if child.module_dict.get(name) is kind:
                return f'{scope}.{name}'
    return f'{kind.__module__}.{kind.__qualname__}'


def name_types(cfg: Config) -> None:
    """Replace classes and functions by their names, in place, so that there is one config style.

    All code that reads a config, and the copy beside the checkpoints, then works for both of
    mmengine's styles.
    """
    _name_types(cfg._cfg_dict)


def _name_types(node) -> None:
    if isinstance(node, dict):
        for key, value in list(node.items()):
            if key in KEYS and (inspect.isclass(value) or inspect.isroutine(value)):
                node[key] = name_of(value)
            else:
                _name_types(value)
    elif isinstance(node, list | tuple):
        for value in node:
            _name_types(value)
