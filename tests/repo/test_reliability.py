"""What docs/reliability.md says about itself: the tests that it names exist, and its cases."""

import ast
import re
from pathlib import Path

import pytest

from tests.messages.bad_input import TABLE

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / 'docs' / 'reliability.md').read_text()
NAMED = re.findall(r'`([\w/]+\.py)::(\w+)`', PAGE)
FILES = re.findall(r'`tests/([\w/]+\.py)`', PAGE)
CASES = re.findall(r'"((?:hostile|\.\.\.), [a-z ]+)"', PAGE)


def promises():
    """The rows of the first table: promise, tests."""
    table = PAGE.split('|---|---|\n', 1)[1].split('\n\n', 1)[0]
    return [re.split(r'(?<!\\)\|', row.strip('| '))[:2] for row in table.splitlines()]


def functions(file):
    return {node.name for node in ast.parse(file.read_text()).body if hasattr(node, 'name')}


@pytest.mark.parametrize(('file', 'name'), NAMED)
def test_a_test_that_the_page_names_exists(file, name):
    assert name.startswith('test_')
    assert name in functions(TESTS / file)


@pytest.mark.parametrize('file', FILES)
def test_a_file_that_the_page_names_exists(file):
    assert (TESTS / file).is_file()


@pytest.mark.parametrize('case', CASES)
def test_a_case_that_the_page_names_is_in_the_table(case):
    assert 'checkpoint: ' + case.replace('...', 'hostile') in TABLE


def test_each_promise_names_a_test():
    rows = promises()
    assert len(rows) >= 15
    assert [promise for promise, held in rows if '::test_' not in held] == []
    assert len(CASES) >= 9
