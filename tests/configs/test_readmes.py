"""Tables of configs/*/README.md: printed results digit for digit, parameters of the metafiles."""

import re

import pytest
import yaml

from selnext_mm.analysis.papers.tables import TABLES
from selnext_mm.config_files import config_leaves, config_root
from tests.printed_results import PRINTED

LEAVES = [name for name in config_leaves() if not name.startswith('cls/cifar10/')]


@pytest.fixture(scope='module')
def rows():
    """config -> {heading: cell} of the table that has its link."""
    found = {}
    for page in sorted(config_root().glob('*/README.md')):
        header = ()
        for line in page.read_text().splitlines():
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            if cells[0] == 'config':
                header = cells
            link = re.match(r'\| \[.+?\]\((\S+\.py)\)', line)
            if link:
                found[f'{page.parent.name}/{link[1]}'] = dict(zip(header, cells, strict=True))
    return found


@pytest.fixture(scope='module')
def models():
    files = config_root().glob('*/metafile.yml')
    rows = [model for file in files for model in yaml.safe_load(file.read_text())['Models']]
    return {row['Config'].removeprefix('configs/'): row['Metadata'] for row in rows}


@pytest.mark.parametrize('name', LEAVES)
def test_the_reported_result_is_the_printed_one(name, rows):
    (heading,) = [h for h in rows[name] if h.startswith('reported')]
    cell = re.sub(r' \(of the .*\)', '', rows[name][heading])
    # Where no paper has the model, the cell is empty.
    assert cell == PRINTED.get(name, '')


@pytest.mark.parametrize('name', config_leaves())
def test_the_parameters_are_those_of_the_metafile(name, rows, models):
    assert rows[name]['params (M)'] == f'{models[name]["Parameters"] / 1e6:.2f}'


def test_no_row_and_no_printed_result_is_left_over(rows):
    assert set(rows) == set(config_leaves())
    assert set(PRINTED) <= set(LEAVES)


def test_trade_off_draws_the_same_results():
    drawn = {row.config: row.accuracy for table in TABLES.values() for row in table if row.config}
    assert len(drawn) == 14
    assert drawn == {name: float(PRINTED[name]) for name in drawn}
