"""The data sets of a config, checked: which files, which classes, which rules apply."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from selnext_mm.config.walk import LOADERS, iter_datasets, iter_evaluators
from selnext_mm.datasets.check.coco import check_coco
from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.check.folders import check_folder, check_list, compare_folders
from selnext_mm.datasets.check.image_files import check_present
from selnext_mm.datasets.check.images import image_paths
from selnext_mm.datasets.coco_file import read_coco
from selnext_mm.datasets.image_suffixes import IMAGE_SUFFIXES
from selnext_mm.errors import UserError
from selnext_mm.text import did_you_mean, preview

# Heads with one output per class of the data set; others (semantic, RPN) count something else.
CLASS_HEADS = ('bbox_head', 'mask_head')


def dataset_class(cfg: Config, dataset: dict) -> type:
    """The registered class of a dataset dict; :class:`UserError` names the nearest ones."""
    name = str(dataset.get('type'))
    scope = cfg.get('default_scope', 'mmengine')
    with (
        DefaultScope.overwrite_default_scope(scope),
        DATASETS.switch_scope_and_registry(dataset.get('_scope_')) as registry,
    ):
        found = registry.get(name)
        hint = did_you_mean(name, registry.module_dict)
    if found is None:
        raise UserError(f'no dataset type {name!r} in {scope}{hint}')
    return found


def class_names(kind: type, dataset: dict) -> tuple[str, ...] | None:
    """The classes that a dataset dict ends up with: ``metainfo``, else those of its class.

    Raises:
        UserError: for ``metainfo.classes`` that are no list of names or a file that is not there.
    """
    metainfo = dict(dataset.get('metainfo') or {})
    classes = metainfo.get('classes', getattr(kind, 'METAINFO', {}).get('classes'))
    if isinstance(classes, str):
        # mmengine reads the names from the file of that name.
        try:
            classes = Path(classes).expanduser().read_text(encoding='utf-8').splitlines()
        except OSError as error:
            raise UserError(
                f'metainfo.classes = {classes!r} is no file ({error.strerror}); a single class is '
                f"written ('{classes}',), with a comma"
            ) from error
    if classes is None:
        return None
    if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
        raise UserError(f'metainfo.classes = {classes!r}; expected a list of names')
    return tuple(classes)


def _is_a(kind: type, name: str) -> bool:
    return any(base.__name__ == name for base in kind.__mro__)


def loads_masks(pipeline: Sequence) -> bool:
    return any(isinstance(t, dict) and t.get('with_mask') for t in pipeline or ())


def _prefix(dataset: dict) -> str:
    prefix = dataset.get('data_prefix') or ''
    if isinstance(prefix, dict):
        prefix = prefix.get('img') or prefix.get('img_path') or ''
    return os.path.join(dataset.get('data_root') or '', prefix)


def check_dataset(cfg: Config, loader: str, dataset: dict, deep: bool = True) -> Report | None:
    """Report on one dataset dict; None for a kind that there are no rules for."""
    root = str(dataset.get('data_root') or '')
    if '://' in root:
        return None
    kind = dataset_class(cfg, dataset)
    classes = class_names(kind, dataset)
    ann_file = dataset.get('ann_file') or ''
    ann_path = os.path.expanduser(os.path.join(root, ann_file))
    training = loader.startswith('train')
    if _is_a(kind, 'CocoDataset') and not _is_a(kind, 'LVISV05Dataset'):
        content = read_coco(ann_path)
        masks = loads_masks(dataset.get('pipeline'))
        report = check_coco(content, classes or (), loader, ann_path, masks, deep)
        report.paths = image_paths(content, os.path.expanduser(_prefix(dataset)))
        check_present(report, training)
        _check_heads(cfg, report, classes or ())
        return report
    if not _is_a(kind, 'CustomDataset') or dataset.get('with_label') is False:
        return None
    return _check_classification(cfg, loader, dataset, kind, classes, deep)


def _check_classification(cfg, loader, dataset, kind, classes, deep) -> Report:
    root, split = str(dataset.get('data_root') or ''), dataset.get('split') or ''
    ann_file = dataset.get('ann_file') or ''
    if _is_a(kind, 'ImageNet') and split:
        # The rules of mmpretrain's ImageNet.
        listed = os.path.join('meta', f'{split}.txt')
        if not ann_file and os.path.exists(os.path.expanduser(os.path.join(root, listed))):
            ann_file = listed
        folder = os.path.join(_prefix(dataset), '' if dataset.get('data_prefix') else split)
    else:
        folder = _prefix(dataset)
    if ann_file:
        report = check_list(os.path.join(root, ann_file), folder, classes, loader)
        check_present(report, loader.startswith('train'))
    else:
        extensions = dataset.get('extensions') or getattr(kind, 'EXTENSIONS', IMAGE_SUFFIXES)
        report = check_folder(folder, classes, loader, deep, extensions)
    wanted = (cfg.model.get('head') or {}).get('num_classes')
    count = len(classes or (() if ann_file else report.classes))
    if wanted and count and wanted != count:
        report.add(
            'error',
            'num_classes',
            f'model.head.num_classes is {wanted}, the data set has {count} classes',
            f'--cfg-options model.head.num_classes={count} data_preprocessor.num_classes={count}',
        )
    return report


def _class_heads(node, path: str = 'model') -> Iterator[tuple[str, int]]:
    """(path, num_classes) of the heads whose outputs are the classes of the data set."""
    if isinstance(node, dict):
        last = path.split('.')
        if isinstance(node.get('num_classes'), int) and any(p in CLASS_HEADS for p in last[-2:]):
            yield path, node['num_classes']
        for key, value in node.items():
            yield from _class_heads(value, f'{path}.{key}')
    elif isinstance(node, list | tuple):
        for i, value in enumerate(node):
            yield from _class_heads(value, f'{path}.{i}')


def _check_heads(cfg: Config, report: Report, classes: Sequence[str]) -> None:
    wrong = [(path, n) for path, n in _class_heads(cfg.model) if n != len(classes)]
    if wrong:
        options = ' '.join(f'{path}.num_classes={len(classes)}' for path, _ in wrong)
        report.add(
            'error',
            'num_classes',
            f'{wrong[0][0]}.num_classes is {wrong[0][1]}, the data set has {len(classes)} '
            f'classes ({preview(classes, 4)})',
            f'Set it in the config, or with --cfg-options {options}',
            count=len(wrong),
        )


def _check_evaluators(cfg: Config, reports: list[Report]) -> None:
    for name, evaluator in iter_evaluators(cfg):
        ann_file = evaluator.get('ann_file')
        stem = name.removesuffix('_evaluator')
        sources = {r.name.removesuffix('_dataloader'): r for r in reports}
        report = sources.get(stem)
        if not ann_file or report is None or '://' in ann_file:
            continue
        if Path(ann_file).expanduser().resolve() != Path(report.source).resolve():
            report.add(
                'error',
                'evaluator',
                f'{name}.ann_file is {ann_file}, another file than the data set reads',
                'The results would be compared with other images; give both the same file',
            )


def check_config(
    cfg: Config,
    loaders: Sequence[str] = LOADERS,
    deep: bool = True,
    on_dataset: Callable[[Report], None] = lambda _: None,
) -> list[Report]:
    """Check every data set of ``cfg`` once (the test set is often the validation set).

    Args:
        cfg: a full config.
        loaders: which of its loaders.
        deep: False for the quick form: annotation files and names of files, no polygon's area.
        on_dataset: called with each new report, before the next data set is read.

    Raises:
        UserError: an annotation file or folder that cannot be read at all.
    """
    reports: dict[str, Report] = {}
    for loader, dataset in iter_datasets(cfg, loaders):
        key = repr((loader.startswith('train'), *(str(dataset.get(k)) for k in _KEYS)))
        if key in reports:
            continue
        report = check_dataset(cfg, loader, dataset, deep)
        if report is not None:
            first = next((r for r in reports.values() if r.name == 'train_dataloader'), None)
            if first is not None and not _is_list(first) and not _is_list(report):
                compare_folders(first, report)
            reports[key] = report
            on_dataset(report)
    _check_evaluators(cfg, list(reports.values()))
    return list(reports.values())


_KEYS = ('type', 'data_root', 'ann_file', 'data_prefix', 'split', 'metainfo')


def _is_list(report: Report) -> bool:
    """Was the report made from a file, not from class folders?"""
    return Path(report.source).is_file()


def stop_on_bad_data(cfg: Config, loaders: Sequence[str]) -> list[str]:
    """The quick form before a run: lines to log.

    Raises:
        UserError: if a data set has what would ruin the run.
    """
    reports = check_config(cfg, loaders, deep=False)
    for report in reports:
        if report.errors:
            sentences = '; '.join(f.sentence() for f in report.errors[:3])
            more = f' (and {len(report.errors) - 3} more)' if len(report.errors) > 3 else ''
            raise UserError(
                f'{report.name}, {report.source}: {sentences}{more}. "selnext-mm check-data" '
                'shows everything; --skip-data-check starts all the same'
            )
    lines = []
    for report in reports:
        objects = f', {report.used} of {report.objects} annotations used' if report.objects else ''
        lines.append(f'{report.name}: {report.images} images{objects}')
        lines += [f'{report.name}: {f.sentence()}' for f in report.findings if f.level == 'warn']
    return lines
