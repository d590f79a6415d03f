#!/usr/bin/env python3
"""Write model-index.yml and configs/*/metafile.yml from the configs themselves.

Run it after adding or renaming a config, and then dev/model_zoo.py; tests compare the files with
what this would write. What a paper reports is read from the tables of configs/*/README.md.
"""

import json
import re
from pathlib import Path

import yaml
from mmengine.config import Config

from selnext_mm.analysis.complexity import WithoutInitialValues, is_detector, measure_model
from selnext_mm.config.build import build_model
from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves, config_root
from selnext_mm.inference.loading import is_segmentor

ROOT = config_root().parent
SELN = 'A Latency-Efficient Integration of Channel Attention for ConvNets'
PAPERS = {
    'na': 'Attention Meets Normalization and Beyond',
    'patnet': 'Partial Convolution Meets Visual Attention',
    'fasternet': "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks",
}
# Title -> short name, the paper, the authors' code.
SOURCES = {
    SELN: (
        'SELN',
        'https://doi.org/10.32604/cmc.2025.059966',
        'https://github.com/oto-q/SELNeXt',
    ),
    PAPERS['na']: (
        'NA',
        'https://rc.signalprocessingsociety.org/workshops/icme-2020/icme20vid052',
        'https://github.com/13952522076/NANet',
    ),
    PAPERS['patnet']: (
        'PATNet',
        'https://arxiv.org/abs/2503.03148',
        'https://github.com/haiduo/PartialNet',
    ),
    PAPERS['fasternet']: (
        'FasterNet',
        'https://arxiv.org/abs/2303.03667',
        'https://github.com/JierunChen/FasterNet',
    ),
}
# What has been trained with this code by the recipe as it is: docs/results.md, in percent.
OURS = {
    'mask_rcnn/selnext_atto_shapes.py': {'box AP': 68.8, 'mask AP': 68.7},
    'upernet/selnext_atto_shapes.py': {'mIoU': 71.9},  # docs/segmentation.md
    # docs/masked_pretraining.md
    'ssl/selnext_yocto_fcmae_cifar10.py': {'Top 1 Accuracy after 1 % of the labels': 33.1},
}
# Trained here by a shortened recipe.
RESULTS = ROOT / 'benchmarks' / 'results'
SHORTENED = (RESULTS / 'cifar10_reduced.json', RESULTS / 'cifar10_quick.json')
# Baselines that stand beside a paper's model in the small comparison.
PEERS = {'resnet18_cifar10': 'na', 'se_resnet18_cifar10': 'na', 'mobilenet_v2_cifar10': 'patnet'}
DATA = {
    'cifar10': 'CIFAR-10',
    'shapes': 'Shapes (synthetic)',
    'in1k': 'ImageNet-1k',
    'coco': 'COCO',
    'cifar100': 'CIFAR-100',
    'flowers102': 'Oxford 102 Flowers',
    'cars': 'Stanford Cars',
    'aircraft': 'FGVC Aircraft',
    'ade20k': 'ADE20K',
}
TASKS = {'upernet': 'Semantic Segmentation', 'semantic_fpn': 'Semantic Segmentation'}


def row(leaf: str, count_flops: bool = True) -> dict:
    """The metafile entry of one config; counting takes as long again as building the model."""
    cfg = load_config(leaf)
    with WithoutInitialValues():
        model = build_model(cfg).eval()
    dense = is_detector(model) or is_segmentor(model)
    iterations = cfg.train_cfg.get('max_iters')
    metadata = {
        'Architecture': architecture(cfg),
        **(dict(Iterations=iterations) if iterations else dict(Epochs=cfg.train_cfg.max_epochs)),
        'Training Data': DATA[Path(leaf).stem.split('_')[-1]],
        'Parameters': sum(p.numel() for p in model.parameters()),
    }
    if count_flops:
        counts = measure_model(model, input_size(cfg))
        # As the papers count: MACs of a classifier, MMDetection 2's operations of the others.
        metadata['FLOPs'] = counts.flops_mmcv if dense else counts.macs
        metadata['Input Size'] = '{}x{}'.format(*counts.shape)
    metadata['Trained Here'] = trained_here(leaf)
    entry = {
        'Name': long_name(leaf),
        'In Collection': collection(leaf)['Name'],
        'Config': f'configs/{leaf}',
        'Metadata': metadata,
    }
    if metrics := {**reported(leaf), **{f'{k} (ours)': v for k, v in OURS.get(leaf, {}).items()}}:
        task = 'Object Detection' if dense else 'Image Classification'
        task = TASKS.get(Path(leaf).parts[0], task)
        data = metadata['Training Data']
        entry['Results'] = [{'Task': task, 'Dataset': data, 'Metrics': metrics}]
    return entry


def long_name(leaf: str) -> str:
    """The name in the first line of a config, which a blank separates from what follows it.

    Raises:
        ValueError: if it cannot be the name of a file and of a model.
    """
    first = (config_root() / leaf).read_text(encoding='utf-8').splitlines()[0]
    match = re.match(r'# long name: ([a-z0-9._-]+)(?: |$)', first)
    if match is None:
        raise ValueError(f'{leaf} begins with {first!r}; expected "# long name: NAME   (note)"')
    return match[1]


def architecture(cfg: Config) -> list[str]:
    """The classes of a model, the largest part first, and the attention that it was given."""
    parts = [cfg.model, cfg.model.backbone, cfg.model.get('neck') or {}]
    parts.append(cfg.model.get('decode_head') or {})
    names = [part['type'] for part in parts if part.get('type')]
    attention = cfg.model.backbone.get('attention_cfg') or {}
    return [*names, *([attention['type']] if attention.get('type') else [])]


def input_size(cfg: Config) -> tuple[int, int] | None:
    """Height and width of the images where these are not the default of ``complexity``."""
    if 'shapes' in Path(cfg.filename).stem:
        return (224, 224)  # the shapes of "make-shapes"
    if cfg.model.type == 'FCMAE':  # no validation, and square images
        pipeline = cfg.train_dataloader.dataset.pipeline
        return next((s['scale'],) * 2 for s in pipeline if s['type'] == 'RandomResizedCrop')
    for step in cfg.test_dataloader.dataset.pipeline:
        if step['type'] == 'Resize' and cfg.model.type == 'ImageClassifier':
            return tuple(step['scale'])[::-1]
    return None


def trained_here(leaf: str) -> str:
    """Whether a model has been trained with this code."""
    if leaf in OURS:
        return 'yes'
    contents = (json.loads(path.read_text(encoding='utf-8')) for path in SHORTENED)
    shortened = {row['model'] for content in contents for row in content['rows']}
    return 'by a shortened recipe' if Path(leaf).stem in shortened else 'not run'


def reported(leaf: str) -> dict[str, float]:
    """What a paper reports, from the row of the config in the README of its folder."""
    folder, _, name = leaf.partition('/')
    header: list[str] = []
    for line in (config_root() / folder / 'README.md').read_text(encoding='utf-8').splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] == 'config':
            header = cells
        elif cells[0].endswith(f']({name})'):
            row = dict(zip(header, cells, strict=True))
            cell = next((v for k, v in row.items() if k.startswith('reported')), '')
            single = 'mIoU' if folder in TASKS else 'box AP'
            return _metrics(cell, 'Top 1 Accuracy' if folder == 'cls' else single)
    return {}


def _metrics(cell: str, single: str) -> dict[str, float]:
    """``82.6``, ``82.5 (of the X paper)``, ``46.7 / 42.4`` or nothing."""
    match = re.fullmatch(r'([\d.]+)(?: / ([\d.]+))?(?: \(of the (.+) paper\))?', cell)
    if match is None:
        return {}
    source = f'paper: {match[3]}' if match[3] else 'paper'
    names = ['box AP', 'mask AP'] if match[2] else [single]
    values = match.groups()[: len(names)]
    return {f'{n} ({source})': float(v) for n, v in zip(names, values, strict=True)}


def collection(leaf: str) -> dict:
    """The collection of a config: its folder and the paper that it belongs to."""
    folder, stem = Path(leaf).parts[0], Path(leaf).stem
    kind = PEERS.get(stem, stem.split('_')[0])
    detector_of_na = folder in ('retinanet', 'cascade_rcnn') and kind != 'selnext'
    paper = PAPERS['na'] if detector_of_na else PAPERS.get(kind, SELN)
    name, paper_url, code_url = SOURCES[paper]
    return {
        'Name': f'{name} {folder}',
        'Paper': {'Title': paper, 'URL': paper_url},
        'Code': {'URL': code_url},  # the authors'; ours is selnext_mm/models
        'README': 'README.md',  # modelindex looks beside the metafile
    }


def files() -> dict[Path, str]:
    """What every file should hold."""
    folders: dict[str, list[str]] = {}
    for leaf in config_leaves():
        folders.setdefault(Path(leaf).parts[0], []).append(leaf)
    out = {}
    for folder, leaves in folders.items():
        collections = {c['Name']: c for c in map(collection, leaves)}
        content = {'Collections': list(collections.values()), 'Models': [row(x) for x in leaves]}
        out[ROOT / 'configs' / folder / 'metafile.yml'] = yaml.safe_dump(content, sort_keys=False)
    index = {'Import': [f'configs/{folder}/metafile.yml' for folder in folders]}
    out[ROOT / 'model-index.yml'] = yaml.safe_dump(index)
    return out


if __name__ == '__main__':
    for path, text in files().items():
        path.write_text(text)
        print(path.relative_to(ROOT))
