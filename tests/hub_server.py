"""A stand-in for the Hugging Face Hub on this machine: files of repositories, by revision."""

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.hub_uploads import RefusedError, Uploads, answer_upload

# The library asks for it once in a process, whichever request is the first: it is not recorded.
REGISTRY = '/api/agent-harnesses'


class StandIn:
    """``files`` maps (repository, revision, name) to bytes; ``requests`` is what was asked for.

    ``cut`` is the number of bytes after which the next answers break off.
    """

    def __init__(self) -> None:
        self.files: dict[tuple[str, str, str], bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.cut: list[int] = []
        self.uploads = Uploads()

    def add(self, repo: str, content: bytes, name='model.safetensors', revision='main') -> str:
        self.files[repo, revision, name] = content
        return hashlib.sha256(content).hexdigest()

    def find(self, path: str) -> tuple[bytes | None, str]:
        """(content, error code) of the path of a request."""
        owner, repo, _, revision, name = (*path.strip('/').split('/', 4), *[''] * 5)[:5]
        repo = f'{owner}/{repo}'
        if repo not in {key[0] for key in self.files}:
            return None, 'RepoNotFound'
        if (repo, revision) not in {key[:2] for key in self.files}:
            return None, 'RevisionNotFound'
        return self.files.get((repo, revision, name)), 'EntryNotFound'


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A running :class:`StandIn`, which ``HF_ENDPOINT`` names, and an empty cache."""
    pytest.importorskip('huggingface_hub', reason='install selnext_mm[hub] to run this')
    from huggingface_hub import constants

    stand_in = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.answer(body=False)

        def do_GET(self):
            if self.path == REGISTRY:
                self.send_error(404)
            elif self.path.startswith('/api/'):
                self.take()
            else:
                self.answer(body=True)

        def do_POST(self):
            self.take()

        def do_PUT(self):
            self.take()

        def take(self) -> None:
            stand_in.requests.append((self.command, self.path, None))
            token = (self.headers.get('Authorization') or '').removeprefix('Bearer ') or None
            body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
            url = f'http://127.0.0.1:{self.server.server_port}'
            status, headers = 200, {}
            try:
                answer = answer_upload(stand_in, self.command, self.path, token, body, url)
            except RefusedError as error:
                status, headers = error.status, error.headers
                answer = dict(error=str(error), url=f'{url}/x/y')
            content = json.dumps(answer).encode()
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header('Content-Type', 'application/json')
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def answer(self, body: bool) -> None:
            asked = self.headers.get('Range')
            stand_in.requests.append((self.command, self.path, asked))
            content, code = stand_in.find(self.path)
            if content is None:
                self.send_response(404)
                self.send_header('X-Error-Code', code)
                self.send_header('Content-Length', '0')
                self.end_headers()
                return
            digest = hashlib.sha256(content).hexdigest()
            first = int(asked.removeprefix('bytes=').split('-')[0]) if asked else 0
            self.send_response(206 if asked else 200)
            self.send_header('ETag', f'"{digest}"')
            self.send_header('X-Linked-Etag', f'"{digest}"')
            self.send_header('X-Linked-Size', str(len(content)))
            self.send_header('X-Repo-Commit', hashlib.sha1(content).hexdigest())
            self.send_header('Accept-Ranges', 'bytes')
            if asked:
                self.send_header(
                    'Content-Range', f'bytes {first}-{len(content) - 1}/{len(content)}'
                )
            self.send_header('Content-Length', str(len(content) - first))
            self.end_headers()
            if body:
                end = stand_in.cut.pop(0) if stand_in.cut else len(content)
                self.wfile.write(content[first:end])

    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f'http://127.0.0.1:{server.server_port}'
    monkeypatch.setenv('HF_ENDPOINT', url)
    # The library read the variable at its import.
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, url)
    monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
    monkeypatch.setattr(constants, 'ENDPOINT', url)
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub_cache'))
    monkeypatch.setattr(constants, 'HF_HUB_DISABLE_XET', True)
    # No token of whoever runs the tests.
    monkeypatch.delenv('HF_TOKEN', raising=False)
    monkeypatch.delenv('HUGGING_FACE_HUB_TOKEN', raising=False)
    monkeypatch.setattr(constants, 'HF_TOKEN_PATH', str(tmp_path / 'token'))
    monkeypatch.setattr(constants, 'HF_STORED_TOKENS_PATH', str(tmp_path / 'stored_tokens'))
    yield stand_in
    server.shutdown()
    server.server_close()
