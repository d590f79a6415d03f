"""Write the prediction images of mmdet's hook into the data set's subfolders."""

import os

from mmengine.runner import Runner


def _root(runner: Runner) -> str | None:
    """The image folder of the test set."""
    dataset = runner.test_dataloader.dataset
    while not hasattr(dataset, 'data_prefix') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    prefix = getattr(dataset, 'data_prefix', None)
    prefix = prefix.get('img') if isinstance(prefix, dict) else None
    return os.path.abspath(prefix) if prefix else None


def keep_subfolders(runner: Runner) -> None:
    """Keep ``cam0/1.jpg`` and ``cam1/1.jpg`` apart; stock mmdet uses only the file name.

    Changes the ``DetVisualizationHook`` of ``runner``, if there is one.
    """
    for hook in runner.hooks:
        if not hasattr(hook, 'test_out_dir') or not hook.test_out_dir:
            continue
        stock, base = hook.after_test_iter, hook.test_out_dir

        def after_test_iter(runner, batch_idx, data_batch, outputs, hook=hook, stock=stock, b=base):
            root = _root(runner)
            for sample in outputs:
                folder = os.path.dirname(os.path.abspath(sample.img_path))
                inside = root and os.path.commonpath([root, folder]) == root
                hook.test_out_dir = os.path.join(b, os.path.relpath(folder, root) if inside else '')
                stock(runner, batch_idx, data_batch, [sample])

        hook.after_test_iter = after_test_iter
