"""Metafiles, the page made of them, the long names: complete, unique, true to the tables."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from selnext_mm.config_files import config_leaves, config_root, find_config, long_names
from tests.printed_results import PRINTED

ROOT = config_root().parent
FILES = sorted(config_root().glob('*/metafile.yml'))
COLLECTIONS = [c for file in FILES for c in yaml.safe_load(file.read_text())['Collections']]
MODELS = {
    model['Config'].removeprefix('configs/'): model
    for file in FILES
    for model in yaml.safe_load(file.read_text())['Models']
}


def module(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    result = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(result)
    return result


def metrics(leaf):
    return {k: v for r in MODELS[leaf].get('Results', []) for k, v in r['Metrics'].items()}


def test_every_entry_is_complete():
    for collection in COLLECTIONS:
        assert collection['Paper']['Title']
        assert collection['Paper']['URL'].startswith('https://')
        assert collection['Code']['URL'].startswith('https://github.com/')
    for leaf, model in MODELS.items():
        data = model['Metadata']
        assert data['Architecture'][0].isidentifier()
        assert data['FLOPs'] > data['Parameters'] > 1e5, leaf
        assert re.fullmatch(r'\d+x\d+', data['Input Size'])
        assert data['Training Data']
        assert data['Trained Here'] in ('yes', 'by a shortened recipe', 'not run')
        # Whose a number is stands beside it, and only what was trained has one of ours.
        assert all(re.search(r' \((?:paper|paper: .+|ours)\)$', key) for key in metrics(leaf))
        has_ours = any(key.endswith('(ours)') for key in metrics(leaf))
        assert has_ours == (data['Trained Here'] == 'yes'), leaf
        assert 'Weights' not in model  # those in weights/ are of no listed config


@pytest.mark.parametrize('leaf', config_leaves())
def test_the_papers_results_are_the_printed_ones(leaf):
    stored = [value for key, value in metrics(leaf).items() if '(paper' in key]
    assert stored == [float(v) for v in PRINTED.get(leaf, '').split(' / ') if v]


def test_our_results_stand_in_the_page_of_results():
    page = (ROOT / 'docs' / 'results.md').read_text()
    ours = {leaf: m for leaf in MODELS if (m := metrics(leaf)) and 'box AP (ours)' in m}
    assert list(ours) == ['mask_rcnn/selnext_atto_shapes.py']
    (row,) = ours.values()
    assert f'| {row["box AP (ours)"] / 100:.3f} | {row["mask AP (ours)"] / 100:.3f} |' in page


def test_the_operations_are_those_of_the_readmes():
    compared = 0
    for page in config_root().glob('*/README.md'):
        header = []
        for line in page.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            header = cells if cells[0] == 'config' else header
            link = re.fullmatch(r'\[.+\]\((.+\.py)\)', cells[0])
            for heading in {'MACs (G)', 'FLOPs (G)'} & set(header):
                if link and (shown := cells[header.index(heading)]):
                    counted = MODELS[f'{page.parent.name}/{link[1]}']['Metadata']['FLOPs'] / 1e9
                    digits = len(shown.partition('.')[2])
                    assert shown == f'{counted:.{digits}f}', (page, link[1])
                    compared += 1
    assert compared == 30


def test_the_page_is_current():
    tool = module(ROOT / 'dev' / 'model_zoo.py')
    assert tool.PAGE.read_text() == tool.page(), 'run dev/model_zoo.py'
    rows = [line for line in tool.page().splitlines() if line.startswith('| `')]
    assert len(rows) == len(MODELS)


def test_the_pages_name_the_weights_that_there_are():
    folders = [p.parent for p in (ROOT / 'weights').glob('*/model.safetensors')]
    assert folders
    for page in ('model_zoo.md', 'mim.md'):
        text = (ROOT / 'docs' / page).read_text()
        assert '(weights.md)' in text, page
        for folder in folders:
            assert f'`weights/{folder.name}`' in text, page
    for folder in folders:  # made by "train --data", whose configs are not listed
        assert not any(folder.name in model['Name'] for model in MODELS.values())
        assert '--data' in (folder / 'README.md').read_text()


def test_a_long_name_is_unique_and_finds_its_config():
    names = long_names()
    assert len(names) == len(config_leaves())
    assert {model['Name']: leaf for leaf, model in MODELS.items()} == names
    for name, leaf in names.items():
        assert re.fullmatch('[a-z0-9._-]+', name), leaf
        assert name not in {Path(other).stem for other in config_leaves() if other != leaf}
    leaf = 'cascade_mask_rcnn/selnext_t_1x_coco.py'
    name = MODELS[leaf]['Name']
    assert find_config(name) == find_config(f'{name}.py') == config_root() / leaf


def test_a_name_that_runs_into_its_note_is_refused(tmp_path, monkeypatch):
    tool = module(ROOT / 'dev' / 'metafiles.py')
    monkeypatch.setattr(tool, 'config_root', lambda: tmp_path)
    (tmp_path / 'a.py').write_text('# long name: a-b_1xb2_coco   (Table 6)\n')
    (tmp_path / 'b.py').write_text('# long name: a-b_1xb2_coco(Table 6)\n')
    assert tool.long_name('a.py') == 'a-b_1xb2_coco'
    with pytest.raises(ValueError, match='expected "# long name: NAME'):
        tool.long_name('b.py')


def test_the_wheel_has_a_file_by_each_long_name(tmp_path):
    """What setup.py writes, beside the configs as in the wheel."""
    tree = ast.parse((ROOT / 'setup.py').read_text())
    tree.body = [n for n in tree.body if getattr(n, 'name', '') == 'write_aliases']
    names = dict(ROOT=ROOT, Path=Path)
    exec(compile(tree, 'setup.py', 'exec'), names)
    (tmp_path / 'configs').symlink_to(config_root())
    names['write_aliases'](tmp_path / 'aliases')
    assert {p.stem for p in (tmp_path / 'aliases').iterdir()} == set(long_names())
    name, leaf = 'mask-rcnn_selnext-t_fpn_amp-ms-crop-3x_coco', 'mask_rcnn/selnext_t_3x_coco.py'
    alias = Config.fromfile(tmp_path / 'aliases' / f'{name}.py')
    assert alias.to_dict() == Config.fromfile(find_config(leaf)).to_dict()
