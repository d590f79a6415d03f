"""What the stand-in for the Hub answers to an upload, as create_repo and create_commit ask.

The protocol is that of huggingface_hub's own client with Git LFS (its other transfer, xet, needs a
second server and is switched off in tests): preupload says how each file goes, large files are
put under their SHA-256, and one commit names them all.
"""

import base64
import hashlib
import json
import re

import yaml


class RefusedError(Exception):
    """An answer that is an error: status, message and further headers."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers


class Uploads:
    """The state of the server. ``writers`` maps a token to the owners it may write for."""

    def __init__(self) -> None:
        self.writers: dict[str, set[str]] = {}
        self.private: dict[str, bool] = {}
        self.blobs: dict[str, bytes] = {}
        self.commits: list[list[str]] = []
        self.fail_at: str | None = None  # a word of the path of the request that fails with 500

    def writer(self, token: str | None) -> set[str]:
        if token not in self.writers:
            raise RefusedError(401, 'Invalid username or password.')
        return self.writers[token]

    def create(self, body: dict, token: str | None, url: str) -> dict:
        """``POST /api/repos/create``."""
        owner, repo = body['organization'], f'{body["organization"]}/{body["name"]}'
        if owner not in self.writer(token):
            message = f'You don\'t have the rights to create a model under the namespace "{owner}"'
            raise RefusedError(403, message)
        if repo in self.private:
            raise RefusedError(409, 'You already created this model repo')
        # Clients before 1.0 say "private", later ones "visibility".
        self.private[repo] = body.get('private') is True or body.get('visibility') == 'private'
        return dict(url=f'{url}/{repo}')

    def info(self, repo: str) -> dict:
        """``GET /api/models/OWNER/REPO``."""
        if repo not in self.private:
            raise RefusedError(404, 'Repository not found', **{'X-Error-Code': 'RepoNotFound'})
        return dict(id=repo, sha='0' * 40, private=self.private[repo])

    def validate(self, body: dict) -> dict:
        """``POST /api/validate-yaml``: the head of the card."""
        head = re.match(r'---\n(.*?)\n---\n', body['content'], re.DOTALL)
        errors = []
        try:
            if head is None or 'license' not in yaml.safe_load(head[1]):
                errors.append(dict(message='"license" is required'))
        except yaml.YAMLError as error:
            errors.append(dict(message=str(error)))
        if errors:
            raise RefusedError(400, json.dumps(dict(errors=errors)))
        return dict(errors=[], warnings=[])

    def preupload(self, body: dict) -> dict:
        large = ('.safetensors', '.onnx')
        return dict(
            files=[
                dict(
                    path=file['path'],
                    uploadMode='lfs' if file['path'].endswith(large) else 'regular',
                    shouldIgnore=False,
                )
                for file in body['files']
            ]
        )

    def batch(self, body: dict, url: str) -> dict:
        """``POST /OWNER/REPO.git/info/lfs/objects/batch``."""
        objects = [
            dict(o, actions=dict(upload=dict(href=f'{url}/lfs/{o["oid"]}')))
            for o in body['objects']
        ]
        return dict(transfer='basic', objects=objects)

    def put(self, oid: str, content: bytes) -> None:
        if hashlib.sha256(content).hexdigest() != oid:
            raise RefusedError(400, 'The content has another SHA-256')
        self.blobs[oid] = content

    def commit(self, lines: list[dict]) -> dict[str, bytes]:
        """The files of a commit, by path."""
        files = {}
        for line in lines:
            value = line['value']
            if line['key'] == 'file':
                files[value['path']] = base64.b64decode(value['content'])
            elif line['key'] == 'lfsFile':
                if value['oid'] not in self.blobs:
                    raise RefusedError(400, f'{value["path"]} was not uploaded')
                files[value['path']] = self.blobs[value['oid']]
        self.commits.append(sorted(files))
        return files


def answer_upload(hub, method: str, path: str, token: str | None, body: bytes, url: str) -> dict:
    """The answer to a request; ``hub`` is the stand-in whose files a commit changes.

    Raises:
        RefusedError: for an answer that is an error.
    """
    uploads = hub.uploads
    if uploads.fail_at and uploads.fail_at in path:
        raise RefusedError(500, 'Internal Error - We are working hard to fix this')
    if method == 'PUT':
        uploads.put(path.rsplit('/', 1)[1], body)
        return {}
    if path == '/api/validate-yaml':
        return uploads.validate(json.loads(body))
    if path == '/api/repos/create':
        return uploads.create(json.loads(body), token, url)
    repo, action = re.fullmatch(r'(?:/api/models)?/([^/]+/[^/.]+)(.*)', path).groups()
    if method == 'GET':
        return uploads.info(repo)
    if repo.split('/')[0] not in uploads.writer(token):
        raise RefusedError(403, f'You may not write to {repo}')
    if action == '/preupload/main':
        return uploads.preupload(json.loads(body))
    if action == '.git/info/lfs/objects/batch':
        return uploads.batch(json.loads(body), url)
    assert action == '/commit/main', path
    for name, content in uploads.commit([json.loads(x) for x in body.splitlines()]).items():
        hub.add(repo, content, name)
    return dict(commitUrl=f'{url}/{repo}/commit/{"1" * 40}', commitOid='1' * 40, success=True)
