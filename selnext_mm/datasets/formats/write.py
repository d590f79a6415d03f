"""Writing COCO files one record at a time."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from selnext_mm.datasets.formats.coco_files import LVIS_IMAGE
from selnext_mm.datasets.formats.records import LabelledObject
from selnext_mm.datasets.formats.spool import Picture


def tidy(value):
    """Integral floats as integers, so that 12.0 and 12 are written alike; also inside lists."""
    if isinstance(value, list | tuple):
        return [tidy(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class CocoWriter:
    """One COCO file: images first, then annotations, which are kept in a second file meanwhile.

    Args:
        path: the file.
        classes: the names in order; class k gets the category id k + 1.
        fields: further fields of each category.
        masks: write the masks; objects without a mask are left out.
        image_id, annotation_id: the first ones.
    """

    def __init__(
        self,
        path: Path,
        classes: Sequence[str],
        fields: Sequence[dict],
        masks: bool,
        image_id: int = 1,
        annotation_id: int = 1,
    ) -> None:
        self.path, self.masks = path, masks
        self.category = {name: i for i, name in enumerate(classes, 1)}
        self.fields = fields
        self.image_id, self.annotation_id = image_id, annotation_id
        self.images = self.objects = 0
        self.bitmaps = 0  # masks that are learnt and no polygons
        self._waiting = path.with_suffix('.annotations')
        self._file = open(path, 'w', encoding='ascii')  # noqa: SIM115 - closed by finish()
        self._rest = open(self._waiting, 'w', encoding='ascii')  # noqa: SIM115
        self._file.write('{"images": [')

    def add(self, picture: Picture) -> None:
        record = dict(
            id=self.image_id, file_name=picture.name, width=picture.width, height=picture.height
        )
        for key, names in (picture.extras or {}).items():
            ids = [self.category[n] for n in names if n in self.category]
            record[key] = sorted(ids) if key in LVIS_IMAGE else names
        self._file.write((',\n' if self.images else '\n') + json.dumps(record))
        for item in picture.objects:
            # Classes that are not learnt have only crowds.
            if item.label in self.category and (item.mask or not self.masks):
                self._object(item)
        self.images += 1
        self.image_id += 1

    def _object(self, item: LabelledObject) -> None:
        bbox = tidy(item.bbox)
        area = item.area if self.masks else bbox[2] * bbox[3]
        record = dict(
            id=self.annotation_id,
            image_id=self.image_id,
            category_id=self.category[item.label],
            bbox=bbox,
            area=tidy(area),
            iscrowd=int(item.crowd),
        )
        if self.masks:
            runs = isinstance(item.mask, dict)
            record['segmentation'] = item.mask if runs else tidy(item.mask)
            self.bitmaps += runs and not item.crowd
        self._rest.write((',\n' if self.objects else '\n') + json.dumps(record))
        self.objects += 1
        self.annotation_id += 1

    def finish(self) -> None:
        """Join the parts into one file."""
        self._rest.close()
        categories = [
            dict(id=i, name=name, **fields)
            for (name, i), fields in zip(self.category.items(), self.fields, strict=True)
        ]
        with self._file as file:
            file.write('\n],\n"annotations": [')
            with open(self._waiting, encoding='ascii') as rest:
                shutil.copyfileobj(rest, file, 1 << 20)
            file.write('\n],\n"categories": [\n')
            file.write(',\n'.join(map(json.dumps, categories)) + '\n]}\n')
        self._waiting.unlink()
