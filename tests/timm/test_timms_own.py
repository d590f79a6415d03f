"""timm's own tests of its models, from its source distribution, over one small model per family.

They run in a pytest of their own, with the plugin in ``plugin/``; nothing of timm's is copied.
"""

import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import timm

from tests.processes import finish
from tests.timm.models import SMALL

pytestmark = pytest.mark.integration

HERE = Path(__file__).resolve().parent
# Tests that have to pass for every model.
PASSED = {
    'test_model_forward',
    'test_model_backward',
    'test_model_default_cfgs',
    'test_model_forward_features',
    'test_model_forward_intermediates',
    'test_model_forward_intermediates_features',
    'test_model_forward_fx',
    'test_model_backward_fx',
    'test_prune_intermediate_layers_contract',
}
# Tests that pass for no model -> the call that fails, and why.
NOT_PASSED = {
    # The blocks look at dtypes, devices and their own modules in Python: docs/elsewhere.md.
    'test_model_forward_torchscript': 'torch.jit.script(model)',
    # The same blocks, as nodes of a graph.
    'test_model_forward_fx_torchscript': 'torch.jit.script(_create_fx_model(model))',
}


@pytest.fixture(scope='module')
def sdist():
    """timm's source distribution, unpacked, from SELNEXT_MM_TIMM_SDIST."""
    given = os.environ.get('SELNEXT_MM_TIMM_SDIST')
    if not given:
        version = timm.__version__
        pytest.skip(
            f'pip download --no-deps --no-binary timm timm=={version} && tar xzf '
            f'timm-{version}.tar.gz, then set SELNEXT_MM_TIMM_SDIST to the folder timm-{version}'
        )
    folder = Path(given).resolve()
    information = (folder / 'PKG-INFO').read_text()
    assert f'\nVersion: {timm.__version__}\n' in information, 'another version than is installed'
    return folder


def test_the_models_pass_timms_own_tests(sdist, tmp_path, root, monkeypatch):
    monkeypatch.delenv('GITHUB_ACTIONS', raising=False)  # with it timm leaves tests out
    result = finish(
        [
            *(sys.executable, '-W', 'ignore', '-m', 'pytest', '-p', 'our_models'),
            *('--our-models', ','.join(SMALL), '--junitxml', tmp_path / 'results.xml'),
            *('-p', 'no:cacheprovider', sdist / 'tests' / 'test_models.py'),
        ],
        cwd=tmp_path,
        env=dict(PYTHONPATH=os.pathsep.join([str(HERE / 'plugin'), str(root)])),
    )
    assert result.returncode in (0, 1), result.stdout[-3000:] + result.stderr[-3000:]
    passed, others = set(), {}
    for case in ElementTree.parse(tmp_path / 'results.xml').iter('testcase'):
        test, _, parameters = case.get('name').partition('[')
        key = test, parameters.removesuffix(']').rpartition('-')[2]
        if len(case):  # a failure, an error or a skip
            others[key] = ''.join(child.text or '' for child in case)
        else:
            passed.add(key)
    expected = {(test, name) for test in NOT_PASSED for name in SMALL}
    unexpected = {key: text[-1500:] for key, text in others.items() if key not in expected}
    assert not unexpected
    assert set(others) == expected, 'these pass now: correct NOT_PASSED and docs/elsewhere.md'
    for (test, _), text in others.items():
        assert f'>       model = {NOT_PASSED[test]}' in text
    assert {(test, name) for test in PASSED for name in SMALL} <= passed
