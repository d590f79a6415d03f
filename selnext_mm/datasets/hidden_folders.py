"""Class folders without hidden folders such as .ipynb_checkpoints and .thumbnails."""

import functools


def skip_hidden_folders() -> None:
    """Make mmpretrain's ``CustomDataset`` number only the folders that are not hidden.

    mmpretrain skips hidden files but treats hidden folders as classes, which shifts the labels of
    all others. Applies once per process; has no effect without mmpretrain.
    """
    try:
        from mmpretrain.datasets import custom
    except (ImportError, AssertionError):  # not installed, or made for another mmcv
        return
    stock = custom.find_folders
    if getattr(stock, 'skips_hidden', False):
        return

    @functools.wraps(stock)
    def find_folders(root, backend=None):
        folders, _ = stock(root, backend)
        folders = [name for name in folders if not name.startswith('.')]
        return folders, {name: place for place, name in enumerate(folders)}

    find_folders.skips_hidden = True  # type: ignore[attr-defined]  # marks the patch
    custom.find_folders = find_folders
