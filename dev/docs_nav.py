"""mkdocs hook: the order of the pages. A page that is not named here comes last, by its title.

A list in mkdocs.yml would be an error for a page that is not there, and silent about a new one.
"""

from pathlib import Path

NAV = {
    'Start': [
        'index',
        'quick_start',
        'install',
        'your_own_data',
        'your_own_classes',
        'training',
        'commands',
        'report',
    ],
    'Recipes and results': [
        'recipes',
        'model_zoo',
        'results',
        'weights',
        'ablations',
        'masked_pretraining',
        'na',
        'patnet',
        'cifar',
    ],
    'Working with it': [
        'data_check',
        'analysis',
        'predict',
        'export',
        'deploy',
        'serve',
        'evaluation',
        'segmentation',
        'elsewhere',
        'mim',
    ],
    'Inside': ['architecture', 'adding_an_attention', 'performance', 'reliability', 'decisions'],
}


def on_config(config):
    pages = {p.stem for p in Path(config['docs_dir']).glob('*.md')}
    named = {name for names in NAV.values() for name in names}
    nav = {
        part: [f'{n}.md' for n in names if n in pages]
        for part, names in NAV.items()
        if pages & set(names)
    }
    rest = sorted(pages - named)
    if rest:
        nav['More'] = [f'{n}.md' for n in rest]
    config['nav'] = [{part: files} for part, files in nav.items()]
    return config
