"""Checks of the data sets of a config: which files, classes and rules apply."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope

from selnext_mm.config.scopes import check_scope
from selnext_mm.config.walk import LOADERS, iter_datasets, iter_evaluators
from selnext_mm.datasets.check.class_counts import class_counts, class_heads
from selnext_mm.datasets.check.coco import check_coco
from selnext_mm.datasets.check.findings import Report
from selnext_mm.datasets.check.folders import (
    check_folder,
    check_list,
    compare_folders,
    extensions_of,
)
from selnext_mm.datasets.check.image_files import check_present, glance
from selnext_mm.datasets.check.images import image_paths
from selnext_mm.datasets.check.segmentation import check_maps
from selnext_mm.datasets.coco_file import KEYS, read_coco
from selnext_mm.datasets.text_lists import read_lines
from selnext_mm.errors import UserError
from selnext_mm.text import counted, did_you_mean, preview


def dataset_class(cfg: Config, dataset: dict) -> type:
    """The registered class of a dataset dict; the :class:`UserError` suggests similar names."""
    check_scope(cfg)
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
        UserError: if ``metainfo.classes`` is not a list of names, or names a missing file.
    """
    metainfo = dict(dataset.get('metainfo') or {})
    classes = metainfo.get('classes', getattr(kind, 'METAINFO', {}).get('classes'))
    if isinstance(classes, str):
        if not Path(classes).expanduser().is_file():  # mmengine reads the names from it
            raise UserError(
                f'metainfo.classes = {classes!r} is no file; a single class is written '
                f"('{classes}',), with a comma"
            )
        classes = read_lines(classes, 'metainfo.classes')
    if classes is None:
        return None
    if not isinstance(classes, list | tuple) or not all(isinstance(c, str) for c in classes):
        raise UserError(f'metainfo.classes = {classes!r}; expected a list of names')
    return tuple(classes)


def _is_a(kind: type, name: str) -> bool:
    return any(base.__name__ == name for base in kind.__mro__)


def loads_masks(pipeline: Sequence) -> bool:
    return any(isinstance(t, dict) and t.get('with_mask') for t in pipeline or ())


def _evaluators(cfg: Config, loader: str) -> list[dict]:
    """The metrics that evaluate the data of a loader."""
    split = loader.removesuffix('_dataloader')
    return [e for name, e in iter_evaluators(cfg) if name == f'{split}_evaluator']


def _only_written(cfg: Config, loader: str) -> bool:
    """Whether predictions on this data set are written but not scored, so labels are not needed."""
    metrics = _evaluators(cfg, loader)
    return bool(metrics) and all(m.get('format_only') for m in metrics)


def _metrics(cfg: Config, loader: str) -> set[str]:
    """The metric names of a loader's COCO metrics: 'bbox', 'segm', ..."""
    names: set[str] = set()
    for node in _evaluators(cfg, loader):
        metric = node.get('metric') or ()
        coco = str(node.get('type')).endswith('CocoMetric')
        if coco and not node.get('format_only'):
            names |= {metric} if isinstance(metric, str) else set(map(str, metric))
    return names


def _prefix(dataset: dict) -> str:
    prefix = dataset.get('data_prefix') or ''
    if isinstance(prefix, dict):
        prefix = prefix.get('img') or prefix.get('img_path') or ''
    return os.path.join(dataset.get('data_root') or '', prefix)


def check_dataset(cfg: Config, loader: str, dataset: dict, deep: bool = True) -> Report | None:
    """Report on one dataset dict; None for a type without rules."""
    root = str(dataset.get('data_root') or '')
    if '://' in root:
        return None
    kind = dataset_class(cfg, dataset)
    classes = class_names(kind, dataset)
    ann_file = dataset.get('ann_file') or ''
    ann_path = os.path.expanduser(os.path.join(root, ann_file))
    training = loader.startswith('train')
    if _is_a(kind, 'CocoDataset') and not _is_a(kind, 'LVISV05Dataset'):
        labelled = not _only_written(cfg, loader)
        content = read_coco(ann_path, KEYS if labelled else ('images', 'categories'))
        content['annotations'] = content.get('annotations') or []
        masks = loads_masks(dataset.get('pipeline')) or 'segm' in _metrics(cfg, loader)
        size = (dataset.get('filter_cfg') or {}).get('min_size', 0) if training else 0
        report = check_coco(
            content,
            *(classes or (), loader, ann_path, masks, deep, size),
            labelled=labelled,
            scored=labelled and not training,
        )
        _check_old_forms(cfg, dataset, report)
        folder = os.path.expanduser(_prefix(dataset))
        report.paths = image_paths(content, folder)
        check_present(report, training, folder)
        _check_heads(cfg, report, classes or ())
        return report
    if _is_a(kind, 'BaseSegDataset'):
        report = check_maps(kind, dataset, classes, loader, deep)
        check_present(report, training)
        if classes:
            _check_heads(cfg, report, classes)
        return report
    if not _is_a(kind, 'CustomDataset') or dataset.get('with_label') is False:
        return None
    return _check_classification(cfg, loader, dataset, kind, classes, deep)


def _check_old_forms(cfg: Config, dataset: dict, report: Report) -> None:
    """Report classes that are set where only mmdet 2 read them."""
    if (dataset.get('metainfo') or {}).get('classes') is not None:
        return
    found = [key for key in ('CLASSES', 'classes', 'metainfo') if cfg.get(key)]
    found += [f'classes of {report.name}.dataset'] if dataset.get('classes') else []
    found += ['CLASSES in its metainfo'] if (dataset.get('metainfo') or {}).get('CLASSES') else []
    if found and report.errors:
        report.add(
            'error',
            'classes',
            f'the config has {", ".join(found)}, which nothing reads',
            f'Classes are named in every data set: {report.name} = dict(dataset=dict('
            "metainfo=dict(classes=('cat', 'dog'))))",
        )


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
        check_present(report, loader.startswith('train'), folder)
    else:
        report = check_folder(folder, classes, loader, deep, extensions_of(kind, dataset))
    count, places = len(classes or (() if ann_file else report.classes)), dict(class_counts(cfg))
    if count and any(n != count for n in places.values()):
        listed = ', '.join(f'{place} is {n}' for place, n in places.items() if n != count)
        report.add(
            'error',
            'num_classes',
            f'{listed}, the data set has {counted(count, "class")}',
            f'--cfg-options {" ".join(f"{place}={count}" for place in places)}',
        )
    return report


def _check_heads(cfg: Config, report: Report, classes: Sequence[str]) -> None:
    wrong = [(path, n) for path, n in class_heads(cfg.model) if n != len(classes)]
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
        own = [r for r in reports if r.name.removesuffix('_dataloader') == stem]
        if not ann_file or not own or '://' in ann_file:
            continue
        if Path(ann_file).expanduser().resolve() not in {Path(r.source).resolve() for r in own}:
            own[0].add(
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
        deep: False for a quick check: annotation files and file names, but no polygon areas.
        on_dataset: called with each new report, before the next data set is read.

    Raises:
        UserError: if an annotation file or folder cannot be read at all.
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
    _check_names(cfg, list(reports.values()))
    return list(reports.values())


def _check_names(cfg: Config, reports: list[Report]) -> None:
    """Check that all class lists of a config have the same order, so that a label has one name."""
    named: dict[tuple[str, ...], str] = {}
    for loader, dataset in iter_datasets(cfg, LOADERS):
        classes = (dataset.get('metainfo') or {}).get('classes')
        if isinstance(classes, list | tuple) and all(isinstance(c, str) for c in classes):
            named.setdefault(tuple(classes), loader)
    (first, of_first), *others = [*named.items()] or [((), '')]
    for classes, loader in others:
        report = next((r for r in reports if r.name in (loader, of_first)), None)
        if report is not None and sorted(classes) == sorted(first):
            report.add(
                'error',
                'classes',
                f'{loader} names the classes in another order than {of_first}: '
                f'{preview(classes, 8)} against {preview(first, 8)}',
                'The same label would have two names; write one list, and use it in all data sets',
            )


_KEYS = ('type', 'data_root', 'ann_file', 'data_prefix', 'split', 'metainfo')


def _is_list(report: Report) -> bool:
    """Whether the report is about a file, not about class folders."""
    return Path(report.source).is_file()


def _stop_on(report: Report, ending: str, leave_out: str = '') -> None:
    """Raise :class:`UserError` for the errors of a report, except those of one check."""
    errors = [f for f in report.errors if f.check != leave_out]
    if errors:
        sentences = '; '.join(f.sentence() for f in errors[:3])
        more = f' (and {len(errors) - 3} more)' if len(errors) > 3 else ''
        raise UserError(
            f'{report.name}, {report.source}: {sentences}{more}. "selnext-mm check-data" shows '
            f'everything{ending}'
        )


def stop_on_bad_labels(cfg: Config, loader: str) -> None:
    """Raise :class:`UserError` for labels that would ruin a run of a model with any classes."""
    for name, dataset in iter_datasets(cfg, (loader,)):
        report = check_dataset(cfg, name, dataset, deep=False)
        if report is not None:
            _stop_on(report, '', leave_out='num_classes')


def stop_on_bad_data(cfg: Config, loaders: Sequence[str]) -> list[str]:
    """The quick check before a run; returns lines to log.

    Raises:
        UserError: if something in a data set would ruin the run.
    """
    reports = check_config(cfg, loaders, deep=False)
    for report in reports:
        _stop_on(report, '; --skip-data-check starts all the same')
        glance(report)
    lines = []
    for report in reports:
        objects = f', {report.used} of {report.objects} annotations used' if report.objects else ''
        images = counted(report.images, 'image')
        if not report.counted:
            images = counted(len(report.classes), 'class')
        lines.append(f'{report.name}: {images}{objects}')
        lines += [f'{report.name}: {f.sentence()}' for f in report.findings if f.level == 'warn']
    return lines
