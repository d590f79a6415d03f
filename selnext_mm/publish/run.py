"""The published folder with the requested extras: an ONNX file, and the upload."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from selnext_mm.errors import UserError
from selnext_mm.export.detection.check import given_pictures
from selnext_mm.export.options import MismatchError
from selnext_mm.export.run import export_model
from selnext_mm.publish.folder import CONFIG, FILES, ONNX, WEIGHTS, name_onnx, publish
from selnext_mm.publish.push import check_push, push


class Published(NamedTuple):
    """``mismatch`` is why an ONNX file was not kept, ``address`` the URL of the Hub's commit."""

    folder: Path
    mismatch: str = ''
    address: str = ''


def publish_run(
    work_dir: str | Path,
    to: str | Path,
    *,
    onnx: bool = False,
    check_images: str | Path | None = None,
    push_to: str | None = None,
    private: bool = False,
    repo: str | None = None,
    **options,
) -> Published:
    """Write the folder of a run's model, optionally with an ONNX file, and optionally upload it.

    Args:
        work_dir, to, repo, options: as for :func:`selnext_mm.publish.folder.publish`.
        onnx: also write an ONNX file, which is kept if it matches PyTorch.
        check_images: folder of images with which the file of a detector is checked.
        push_to: ``owner/name`` on the Hub; nothing is sent if the ONNX file fails its check.
        private: create a private repository, and send nothing to a public one.

    Raises:
        UserError: as ``publish``, ``export_model`` and ``push``; what can be checked is checked
            before anything is written.
    """
    if push_to:
        check_push(push_to)
    if check_images:
        given_pictures(check_images)
    folder = publish(work_dir, to, repo=push_to or repo, **options)
    if onnx:
        paths = (folder / CONFIG, folder / WEIGHTS, folder / ONNX)
        try:
            export_model(*paths, check_images=[check_images] if check_images else None)
            name_onnx(folder)
        except MismatchError as error:
            return Published(folder, mismatch=str(error))
        except UserError as error:
            raise UserError(f'{error}. {to} is written, without {ONNX}') from error
    if not push_to:
        return Published(folder)
    files: Sequence[str] = [*FILES, ONNX] if onnx else FILES
    return Published(folder, address=push(folder, push_to, files, private))
