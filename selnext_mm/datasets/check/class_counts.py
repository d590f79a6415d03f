"""The places where a config sets the number of classes."""

from collections.abc import Iterator

from mmengine.config import Config

# Heads with one output per class of the data set; others (semantic, RPN) count something else.
CLASS_HEADS = ('bbox_head', 'mask_head', 'decode_head', 'auxiliary_head')


def class_counts(cfg: Config) -> Iterator[tuple[str, int]]:
    """(place, number) wherever a classifier's config sets the number of classes.

    These are the head, the preprocessor (which turns labels into vectors) and mixing augmentations.
    """
    augments = (cfg.model.get('train_cfg') or {}).get('augments') or []
    for place, node in (
        ('model.head', cfg.model.get('head')),
        ('data_preprocessor', cfg.get('data_preprocessor')),
        ('model.data_preprocessor', cfg.model.get('data_preprocessor')),
    ):
        if not isinstance(node, dict) or not isinstance(node.get('num_classes'), int):
            continue
        # A preprocessor uses its number when it turns labels into vectors.
        if place == 'model.head' or augments or node.get('to_onehot') or node.get('batch_augments'):
            yield f'{place}.num_classes', node['num_classes']
    many = isinstance(augments, list | tuple)
    for i, node in enumerate(augments if many else [augments]):
        if isinstance(node, dict) and isinstance(node.get('num_classes'), int):
            where = f'augments.{i}' if many else 'augments'
            yield f'model.train_cfg.{where}.num_classes', node['num_classes']


def class_heads(node, path: str = 'model') -> Iterator[tuple[str, int]]:
    """(path, num_classes) of the heads whose outputs are the classes of the data set."""
    if isinstance(node, dict):
        last = path.split('.')
        if isinstance(node.get('num_classes'), int) and any(p in CLASS_HEADS for p in last[-2:]):
            yield path, node['num_classes']
        for key, value in node.items():
            yield from class_heads(value, f'{path}.{key}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from class_heads(value, f'{path}.{i}')
