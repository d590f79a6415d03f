"""Class folders without the hidden ones that tools leave: .ipynb_checkpoints, .thumbnails."""

import functools


def skip_hidden_folders() -> None:
    """Let mmpretrain's ``CustomDataset`` number only the folders that are not hidden.

    mmpretrain leaves hidden files out and takes hidden folders for classes, which shifts the labels
    of all others. Once per process; inert without mmpretrain.
    """
    try:
        from mmpretrain.datasets import custom
    except (ImportError, AssertionError):  # not installed, or for another mmcv
        return
    stock = custom.find_folders
    if getattr(stock, 'skips_hidden', False):
        return

    @functools.wraps(stock)
    def find_folders(root, backend=None):
        folders, _ = stock(root, backend)
        folders = [name for name in folders if not name.startswith('.')]
        return folders, {name: place for place, name in enumerate(folders)}

    find_folders.skips_hidden = True  # type: ignore[attr-defined]  # a mark
    custom.find_folders = find_folders
