"""Publishing replaces nothing that it has not written, and leaves nothing of other weights."""

import pytest

from selnext_mm.cli.publish import main
from selnext_mm.errors import UserError
from selnext_mm.export.options import MismatchError
from selnext_mm.publish.folder import publish
from tests.publish.test_publish import SCORES, as_run


@pytest.fixture
def run(tmp_path, classifier):
    return as_run(tmp_path / 'run', classifier, SCORES)


@pytest.mark.parametrize('force', [False, True])
def test_the_folder_of_the_run_stays_as_it_is(force, run):
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    with pytest.raises(UserError, match=r'is the folder of the run; its config\.py would'):
        publish(run, run / '..' / run.name, force=force)
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before


@pytest.mark.parametrize('name', ['config.py', 'config.json', 'model.safetensors'])
def test_a_file_of_the_same_name_is_replaced_only_by_force(name, run, tmp_path):
    out = tmp_path / 'out'
    out.mkdir()
    (out / name).write_text('mine')
    with pytest.raises(UserError, match=rf'holds a {name}, which may have been edited; --force'):
        publish(run, out)
    assert (out / name).read_text() == 'mine'


def test_an_onnx_file_of_other_weights_goes(run, tmp_path):
    publish(run, tmp_path / 'out')
    (tmp_path / 'out' / 'model.onnx').write_bytes(b'of the weights before')
    publish(run, tmp_path / 'out', force=True)
    assert not (tmp_path / 'out' / 'model.onnx').exists()


@pytest.mark.parametrize('licence', ['mit\nx: y', 'a: b', '', 'Apache 2'])
def test_a_licence_is_a_name(licence, run, tmp_path):
    with pytest.raises(UserError, match='expected a name as the Hub has it, such as apache-2'):
        publish(run, tmp_path / 'out', licence=licence)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['nowhere', 'empty', 'text.jpg'])
def test_images_that_cannot_be_looked_at_are_told_before_anything_is_written(name, run, tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.jpg').write_text('no image')
    images = str(tmp_path / name)
    with pytest.raises(UserError, match=name):
        main([str(run), '--to', str(tmp_path / 'out'), '--onnx', '--check-images', images])
    assert not (tmp_path / 'out').exists()


def test_a_file_that_fails_its_check_is_told_beside_the_folder(run, tmp_path, monkeypatch, capsys):
    def fails(*paths, **options):
        raise MismatchError('finds something else')

    monkeypatch.setattr('selnext_mm.publish.run.export_model', fails)
    assert main([str(run), '--to', str(tmp_path / 'out'), '--onnx']) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'finds something else'
    assert lines[1] == f'wrote {tmp_path / "out"}, without model.onnx, which failed its check'
