"""The demo notebook runs from the first cell to the last, and holds no output of a run."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip('nbformat')
nbclient = pytest.importorskip('nbclient')
pytest.importorskip('ipykernel')
pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
PATH = ROOT / 'notebooks' / 'demo.ipynb'


def outputs(cell, kind):
    return [o for o in cell.outputs if kind in (o.output_type, *o.get('data', {}))]


@pytest.mark.documentation
def test_every_cell_runs(tmp_path, monkeypatch):
    monkeypatch.setenv('SELNEXT_MM_QUICK', '1')
    notebook = nbformat.read(PATH, 4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        startup_timeout=300,  # a kernel takes its time beside other test processes
        resources=dict(metadata=dict(path=str(tmp_path))),
    )
    client.execute()
    cells = [c for c in notebook.cells if c.cell_type == 'code']
    pictures = [len(outputs(c, 'image/png')) + len(outputs(c, 'image/jpeg')) for c in cells]
    assert [n for n in pictures if n] == [1, 3], 'the truth, and three predictions'
    said = ''.join(o.text for c in cells for o in outputs(c, 'stream') if o.name == 'stdout')
    assert '4 images on ' in said
    work = tmp_path / 'work_dirs' / 'notebook'
    assert "{'coco/bbox_mAP': " in said
    own = tmp_path / 'work_dirs' / 'data_selnext_atto'
    files = ('results.bbox.json', 'results.segm.json', 'results.json')
    assert ''.join(f'{own / name}\n' for name in files) in said
    assert (work / 'run' / 'epoch_1.pth').is_file()
    assert (work / 'test.json').is_file()
    assert len(list((work / 'predicted' / 'pictures').iterdir())) == 4


def test_it_is_stored_without_outputs():
    for cell in nbformat.read(PATH, 4).cells:
        if cell.cell_type == 'code':
            assert cell.outputs == []
            assert cell.execution_count is None


def test_it_is_valid():
    assert nbformat.validator.isvalid(nbformat.read(PATH, 4))
