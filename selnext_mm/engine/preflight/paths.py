"""Check, before a run, that the data files of a config exist; one message names all."""

from pathlib import Path

from mmengine.config import Config

from selnext_mm.config.walk import iter_datasets, iter_evaluators
from selnext_mm.datasets.formats.cache import is_conversion
from selnext_mm.errors import UserError
from selnext_mm.text import near

REMEDY = (
    'Give its folder with --data-root DIR: it holds annotations/ and the image folders (COCO), '
    'train/ and val/ (ImageNet) or annotations/ and images/ (ADE20K)'
)


def _join(root: str | None, path: str) -> Path:
    return Path(root or '', path).expanduser()


def _neighbour(path: Path) -> str:
    """' (did you mean ...?)' for a sibling folder with a similar name."""
    try:
        names = [p.name for p in path.parent.iterdir() if p.is_dir()]
    except OSError:
        return ''
    likely = near(path.name, names, 1)
    return f' (did you mean {path.parent / likely[0]}?)' if likely else ''


def check_paths(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Raise :class:`UserError` if an annotation file or image folder does not exist.

    Addresses with a scheme (``s3://...``) are left to the file client.
    """
    wanted: dict[Path, str] = {}
    hints: dict[Path, str] = {}
    absolute: set[Path] = set()  # --data-root does not move these
    for loader, dataset in iter_datasets(cfg, loaders):
        root = dataset.get('data_root')
        if '://' in str(root or ''):
            continue
        if root and not Path(root).expanduser().is_dir():
            root = Path(root).expanduser()
            wanted.setdefault(root, f'data_root of {loader}')
            hints.setdefault(root, _neighbour(root))
            continue
        prefix = dataset.get('data_prefix')
        prefixes = list(prefix.values() if isinstance(prefix, dict) else [prefix])
        named = (Path(name) for name in [dataset.get('ann_file'), *prefixes] if name)
        absolute |= {path for path in named if path.is_absolute()}
        if dataset.get('ann_file'):
            wanted.setdefault(_join(root, dataset['ann_file']), f'ann_file of {loader}')
        for value in filter(None, prefixes):
            wanted.setdefault(_join(root, value), f'data_prefix of {loader}')
        # Of mmpretrain's classes with a split, only ImageNet names a folder after the split.
        folders = str(dataset.get('type')).endswith('ImageNet') and dataset.get('split')
        if folders and not dataset.get('ann_file') and not prefix and root:
            wanted.setdefault(_join(root, dataset['split']), f'split of {loader}')
    for name, evaluator in iter_evaluators(cfg):
        ann_file = evaluator.get('ann_file')
        if name.split('_')[0] in {x.split('_')[0] for x in loaders} and ann_file:
            wanted.setdefault(Path(ann_file).expanduser(), f'ann_file of {name}')
    converted = {path.parent for path in wanted if is_conversion(path.parent)}
    if gone := sorted(folder for folder in converted if not folder.is_dir()):
        raise UserError(
            f'the labels of this config were converted to {gone[0]}, which is gone; '
            '"selnext-mm check-data DIR" writes them again, DIR being the folder of the labels, '
            'with the --format, --val and --seed of the training'
        )
    missing = [
        f'{path} ({what}){hints.get(path, "")}'
        for path, what in wanted.items()
        if not path.exists()
    ]
    if missing:
        inside = any(not path.exists() and path not in absolute for path in wanted)
        raise UserError(
            'the data set is not where the config says; looked for '
            + ', '.join(missing)
            + f', from {Path.cwd()}. '
            + (REMEDY if inside else 'Change it there; --data-root moves no absolute paths')
        )
