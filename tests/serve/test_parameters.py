"""``score_thr`` of a detector, and of a classifier, where it would change nothing."""

import json
from importlib.resources import files

import pytest

from tests.serve.echo import ask, create_app, png, post, serving


@pytest.fixture(scope='module')
def classifying(colours):
    with serving(create_app(colours)) as port:
        yield port


def parameters(port, path):
    told = json.loads(ask(port, path='/openapi.json')[2])['paths'][path]['post']
    return [(p['name'], p['in']) for p in told.get('parameters', [])]


@pytest.mark.parametrize('path', ['/predict', '/picture'])
def test_a_classifier_refuses_a_lowest_score(path, classifying):
    status, content = post(classifying, png(), path=f'{path}?score_thr=0.9')
    assert status == 422
    assert content['detail'] == (
        'query.score_thr: it is for detectors, and a classifier answers with its best classes, '
        'whatever their scores; leave it out'
    )
    status, content = post(classifying, png(), path=f'{path}?top_k=3')
    assert (status, content['detail']) == (422, 'query.top_k: no such parameter; known: none')
    assert ask(classifying, 'POST', path, png(), 'image/png')[0] == 200


def test_the_description_has_the_parameters_of_the_kind(classifying, port):
    for path in ('/predict', '/picture'):
        assert parameters(classifying, path) == []
        assert parameters(port, path) == [('score_thr', 'query')]


def test_a_classifier_answers_with_its_best_classes(classifying):
    status, content = post(classifying, png(grey=200))
    assert status == 200
    assert [c['score'] for c in content['classes']] == pytest.approx([1 / 3] * 3)


def test_the_page_sends_it_to_detectors_alone():
    page = files('selnext_mm.serve').joinpath('page.js').read_text('utf-8')
    assert "model.kind === 'detector' ? 'predict?score_thr=0' : 'predict'" in page
    assert page.count('score_thr') == 1
