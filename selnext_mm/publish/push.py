"""Upload a published folder to the Hugging Face Hub, with the user's own token.

``huggingface_hub`` does the work: it creates the repository, and uploads in one commit what is
missing there. ``HF_ENDPOINT`` names a server other than huggingface.co.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selnext_mm.checkpoints.hub import hub_library
from selnext_mm.errors import UserError

TOKEN_HELP = '"hf auth login", or set HF_TOKEN'
WRITE_TOKEN = 'a token that may write (huggingface.co/settings/tokens)'


def check_push(repo: str) -> None:
    """Check what can be checked before the folder is made, and without the network.

    Raises:
        UserError: without the library, without a token, for a name that the Hub does not accept,
        or if ``HF_HUB_OFFLINE`` is set.
    """
    library = hub_library(f'--push {repo}')
    from huggingface_hub import constants
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except ValueError as error:  # its HFValidationError
        raise UserError(f'--push {repo}: {error}') from error
    if constants.HF_HUB_OFFLINE:
        raise UserError(f'--push {repo}: HF_HUB_OFFLINE is set; unset it to send anything')
    if library.get_token() is None:
        raise UserError(f'--push {repo} needs {WRITE_TOKEN}: {TOKEN_HELP}')


def push(folder: str | Path, repo: str, files: Sequence[str], private: bool = False) -> str:
    """Upload ``files`` of ``folder`` to ``repo`` in one commit; returns the URL of the commit.

    The repository is created if it does not exist; its other files are kept. Other files of the
    folder are not sent.

    Args:
        folder: as :func:`selnext_mm.publish.folder.publish` writes it.
        repo: ``owner/name``.
        files: names, or patterns of them.
        private: create a private repository, and send nothing to a public one.

    Raises:
        UserError: as :func:`check_push`, and if the Hub cannot be reached, rejects the token, or
            refuses the repository or a file.
    """
    check_push(repo)
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get('HF_ENDPOINT'), library_name='selnext_mm')
    with _explained(repo, Path(folder)):
        api.create_repo(repo, private=True if private else None, exist_ok=True)
        if private and not api.model_info(repo).private:
            raise UserError(
                f'--private: {repo} exists and is public; nothing was sent. Choose another name, '
                'or make it private in its settings'
            )
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=str(folder),
            allow_patterns=list(files),
            commit_message='Upload with selnext-mm publish',
        )
    return str(commit.commit_url)


@contextmanager
def _explained(repo: str, folder: Path) -> Iterator[None]:
    """Turn the library's errors into a message: the folder is complete, and what to do next."""
    from huggingface_hub import errors

    later = f'. {folder} is complete; later: hf upload {repo} {folder}'
    transport = getattr(errors, 'HTTPError', OSError)  # httpx's; requests' is an OSError
    try:
        yield
    except errors.HfHubHTTPError as error:
        raise UserError(f'{_refusal(repo, error)}{later}') from error
    except (OSError, transport) as error:
        where = os.environ.get('HF_ENDPOINT') or 'huggingface.co'
        raise UserError(
            f'{repo}: {where} cannot be reached ({_first_line(error)}); check the network{later}'
        ) from error
    except (ValueError, RuntimeError) as error:
        # RuntimeError: the upload of a file was interrupted; its cause says why.
        reason = ': '.join(_first_line(e) for e in (error, error.__cause__) if e is not None)
        raise UserError(f'{repo} was not sent: {reason}{later}') from error


def _refusal(repo: str, error) -> str:
    """The Hub's answer in words, with a remedy."""
    owner, status = repo.split('/')[0], getattr(error.response, 'status_code', None)
    said = getattr(error, 'server_message', None) or _first_line(error)
    if status == 401:
        remedy = f'make {WRITE_TOKEN}: {TOKEN_HELP}'
        return f'{repo}: the Hub does not recognise the token ({said}); {remedy}'
    if status in (402, 403):
        return (
            f'{repo}: the token may not write there ({said}); it needs write access to {owner!r}, '
            'which has to be you or an organization of yours'
        )
    if status == 404:
        return f'{repo}: the Hub has no user or organization {owner!r} ({said}); check the name'
    return f'{repo}: the Hub refused it ({said})'


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip('.') if text else type(error).__name__
