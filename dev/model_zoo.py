#!/usr/bin/env python3
"""Write docs/model_zoo.md from model-index.yml and the metafiles that it names.

Run it after dev/metafiles.py; a test compares the page with what this would write.
"""

from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'model_zoo.md'
TITLES = {
    'cls': 'Classifiers',
    'mask_rcnn': 'Mask R-CNN',
    'cascade_mask_rcnn': 'Cascade Mask R-CNN',
    'faster_rcnn': 'Faster R-CNN',
    'cascade_rcnn': 'Cascade R-CNN',
    'retinanet': 'RetinaNet',
    'upernet': 'UPerNet',
    'semantic_fpn': 'Semantic FPN',
    'ssl': 'Masked pretraining',
}
HEAD = """# Model zoo

All configs of the package, as their metafiles have them; `dev/model_zoo.py` writes this page.

- **paper**: as the paper prints it, in percent; a name in brackets is that of another paper than
  the one above the table. Top-1 accuracy of classifiers, box AP, or box / mask AP of detectors,
  mIoU of segmentors.
- **ours**: trained with this code. *not run* says that nobody has; *shortened* that only a
  shortened recipe was run ([results](results.md#small-comparison-on-cifar-10)).
- Parameters and operations (in 10^9) are counted here from the config, for one image of the size
  beside them ([complexity](commands.md#complexity)). As the papers count: multiply-accumulates of
  a classifier, the FLOPs of MMDetection 2 of a detector or segmentor.
- Weights: none of these configs has any. A small detector, of a config that `train --data` made,
  is in WEIGHTS ([how it was built](weights.md)).
  `selnext-mm publish` makes a run of yours fit for the Hub.

`selnext-mm train`, `test` and `mim` take the file of a config and the long name with `.py` behind
it; the latter is unique ([mim](mim.md)).
"""
TRAINED = {'by a shortened recipe': 'shortened'}


def metrics_of(model: dict, kind: str) -> str:
    """The numbers of ``paper`` or ``ours``, with the paper's name if it is another; else empty."""
    cells, other = [], ''
    for result in model.get('Results', []):
        for name, value in result['Metrics'].items():
            source = name.rpartition('(')[2].removesuffix(')')
            if source.partition(':')[0] == kind:
                # As printed: papers give AP with one digit, so 45 is 45.0.
                cells.append(f'{value:.1f}' if value == round(value, 1) else f'{value:g}')
                other = source.partition(': ')[2]
    return ' / '.join(cells) + (f' ({other})' if other else '')


def row(model: dict, folder: str) -> str:
    """The line of one model."""
    data = model['Metadata']
    file = model['Config'].removeprefix(f'configs/{folder}/')
    trained = data['Trained Here']
    ours = metrics_of(model, 'ours') or TRAINED.get(trained, trained)
    cells = (
        f'`{file}`',
        f'`{model["Name"]}`',
        data['Training Data'],
        data.get('Epochs') or f'{data["Iterations"]:,} iterations',
        f'{data["Parameters"] / 1e6:.2f}',
        f'{data["FLOPs"] / 1e9:.2f}',
        data['Input Size'],
        metrics_of(model, 'paper') or '-',
        ours,
    )
    return '| ' + ' | '.join(map(str, cells)) + ' |'


def page() -> str:
    """What the page should hold."""
    folders = sorted(path.parent.name for path in (ROOT / 'weights').glob('*/model.safetensors'))
    lines = [HEAD.replace('WEIGHTS', ', '.join(f'`weights/{name}`' for name in folders))]
    names = ('config', 'long name', 'data', 'epochs', 'params (M)', 'operations (G)', 'size')
    header = '| ' + ' | '.join((*names, 'paper', 'ours')) + ' |'
    contents = {
        Path(name).parent.name: yaml.safe_load((ROOT / name).read_text(encoding='utf-8'))
        for name in yaml.safe_load((ROOT / 'model-index.yml').read_text(encoding='utf-8'))['Import']
    }
    for folder in sorted(contents, key=[*TITLES].index):
        content = contents[folder]
        lines += [f'## {TITLES[folder]}', '']
        for group in content['Collections']:
            paper, code = group['Paper'], group['Code']
            lines += [
                f'### {group["Name"]}: `configs/{folder}/`',
                '',
                f"[{paper['Title']}]({paper['URL']}); the authors' [code]({code['URL']}).",
                '',
                header,
                '|---' * (len(names) + 2) + '|',
            ]
            models = (m for m in content['Models'] if m['In Collection'] == group['Name'])
            lines += [*(row(model, folder) for model in models), '']
    return '\n'.join(lines)


if __name__ == '__main__':
    PAGE.write_text(page())
    print(PAGE.relative_to(ROOT))
