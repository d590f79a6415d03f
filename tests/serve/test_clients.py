"""What clients, monitors and proxies do, apart from sending images."""

import logging
import socket
import time

from tests.serve.echo import ask, create_app, png, post, serving

START = (
    b'POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n'
)


def test_a_client_that_leaves_is_counted_and_no_error(model, caplog):
    with serving(create_app(model)) as port, caplog.at_level(logging.ERROR):
        for _ in range(3):
            with socket.create_connection(('127.0.0.1', port), timeout=20) as wire:
                wire.sendall(START + b'abc')
        line = b'selnext_mm_requests_total{path="/predict",status="499"} 3.0'
        for _ in range(200):
            if line in ask(port, path='/metrics')[2]:
                break
            time.sleep(0.02)
        assert line in ask(port, path='/metrics')[2]
        assert post(port, png())[0] == 200
    assert not caplog.records


def test_head_is_answered_without_a_body(port):
    for path in ('/', '/page.js', '/health', '/model', '/metrics'):
        status, headers, body = ask(port, 'HEAD', path)
        assert (status, body) == (200, b'')
        assert int(headers['content-length']) > 0
    assert 'head' not in ask(port, path='/openapi.json')[2].decode().split('"')


def test_head_asks_for_the_token_as_well(model):
    with serving(create_app(model, token='Secret')) as port:
        statuses = {path: ask(port, 'HEAD', path)[0] for path in ('/health', '/model', '/metrics')}
    assert statuses == {'/health': 200, '/model': 401, '/metrics': 401}


def test_a_slash_too_many_is_not_found(port):
    assert post(port, png(), path='/predict/') == (404, {'detail': 'Not Found'})


def test_a_compressed_body_is_told(port):
    status, content = post(port, png(), headers={'Content-Encoding': 'gzip'})
    assert status == 415
    assert content['detail'] == 'Content-Encoding gzip; send the bytes of the image as they are'
    assert post(port, png(), headers={'Content-Encoding': 'identity'})[0] == 200


def test_the_scheme_of_a_token_is_read_in_any_case(model):
    with serving(create_app(model, token='Secret')) as port:
        for words, status in (
            ('Bearer Secret', 200),
            ('bearer Secret', 200),
            ('BEARER  Secret', 200),
            ('Bearer secret', 401),
            ('Basic Secret', 401),
            ('Secret', 401),
            ('', 401),
        ):
            assert ask(port, path='/model', headers={'Authorization': words})[0] == status, words
