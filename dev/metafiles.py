#!/usr/bin/env python3
"""Write model-index.yml and configs/*/metafile.yml from the configs themselves.

Run it after adding or renaming a config; a test compares the files with what this would write.
"""

from pathlib import Path

import yaml
from mmengine.registry import MODELS, DefaultScope

from selnext_mm.config.load import load_config
from selnext_mm.config_files import config_leaves, config_root

ROOT = config_root().parent
SELN = 'A Latency-Efficient Integration of Channel Attention for ConvNets'
PAPERS = {
    'na': 'Attention Meets Normalization and Beyond',
    'patnet': 'Partial Convolution Meets Visual Attention',
    'fasternet': "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks",
}
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
}


def row(leaf: str) -> dict:
    """The metafile entry of one config."""
    cfg = load_config(leaf)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if 'data_preprocessor' in cfg:
            cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(cfg.model)
    first = (config_root() / leaf).read_text().splitlines()[0]
    return {
        'Name': first.removeprefix('# long name:').split()[0],
        'In Collection': collection(leaf)['Name'],
        'Config': f'configs/{leaf}',
        'Metadata': {
            'Epochs': cfg.train_cfg.max_epochs,
            'Training Data': DATA[Path(leaf).stem.split('_')[-1]],
            'Parameters': sum(p.numel() for p in model.parameters()),
        },
    }


def collection(leaf: str) -> dict:
    """The collection of a config: its folder and the paper that it belongs to."""
    folder, stem = Path(leaf).parts[0], Path(leaf).stem
    kind = PEERS.get(stem, stem.split('_')[0])
    detector_of_na = folder in ('retinanet', 'cascade_rcnn') and kind != 'selnext'
    paper = PAPERS['na'] if detector_of_na else PAPERS.get(kind, SELN)
    names = {
        SELN: 'SELN',
        PAPERS['na']: 'NA',
        PAPERS['patnet']: 'PATNet',
        PAPERS['fasternet']: 'FasterNet',
    }
    return {
        'Name': f'{names[paper]} {folder}',
        'Paper': {'Title': paper},
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
