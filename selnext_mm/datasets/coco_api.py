"""mmdet's ``COCO`` with this package's reader: training and metrics see what the checks saw."""

import contextlib
import io
from pathlib import Path

from selnext_mm.datasets.coco_content import check_records, for_scoring, load_coco
from selnext_mm.datasets.hidden_folders import skip_hidden_folders


def without_its_prints() -> contextlib.AbstractContextManager:
    """Suppress the progress messages that pycocotools prints."""
    return contextlib.redirect_stdout(io.StringIO())


def use_one_reader() -> None:
    """Make mmdet's data sets and metrics read COCO files by :func:`load_coco`, in this process.

    mmdet's ``CocoDataset`` and ``CocoMetric`` each open the annotation file through this class,
    whatever data set or metric a config derives from them. Stock ``json.load`` reads neither byte
    order marks nor UTF-16, a missing ``iscrowd`` ends an evaluation, and the id 0 is never matched.

    It has no effect without mmdet, on panoptic and LVIS files, or on remote files.
    """
    try:
        from mmdet.datasets.api_wrappers import coco_api
    except (ImportError, AssertionError):  # not installed, or made for another mmcv
        return
    cls = coco_api.COCO
    stock = cls.__init__
    if getattr(stock, 'reads_normalised', False):
        return

    def __init__(self, annotation_file=None) -> None:  # noqa: N807
        if type(self) is not cls or not annotation_file or not Path(annotation_file).is_file():
            stock(self, annotation_file)
            return
        stock(self)
        # A test set without labels has no key ``annotations``.
        content = load_coco(annotation_file, ('images',))
        check_records(content, annotation_file)
        self.dataset = for_scoring(content, annotation_file)
        with without_its_prints():
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    __init__.reads_normalised = True  # type: ignore[attr-defined]  # marks the patch
    cls.__init__ = __init__


def read_data_as_checked(scope: str | None) -> None:
    """Let the data sets of a run in ``scope`` see what :mod:`selnext_mm.datasets.check` sees."""
    use_one_reader()
    if scope == 'mmpretrain':
        skip_hidden_folders()
