"""The text of YOLO's label files, and the class names of its YAML file.

A line is ``class x y w h`` (the box's centre and size) or ``class x1 y1 x2 y2 x3 y3 ...`` (a
polygon; oriented boxes have four corners). Coordinates are fractions of the image as it is shown.

Fractions with few digits rarely give the exact pixels. So the numbers are restored to what they
were before rounding, the decimal with the fewest digits within their precision; see
:func:`~selnext_mm.datasets.formats.geometry.shortest`. With six digits, whole pixels are
restored exactly in images of up to 300,000 pixels per side, hundredths of a pixel up to 3,000.
"""

from collections.abc import Sequence
from pathlib import Path

from selnext_mm.datasets.formats.files import read_text
from selnext_mm.datasets.formats.geometry import (
    USUAL_DIGITS,
    decimals,
    is_finite,
    polygon_box,
    shortest,
    uncertainty,
)
from selnext_mm.datasets.formats.records import LabelledObject, preview
from selnext_mm.errors import UserError
from selnext_mm.text import counted

BOX = 4  # numbers of a box; a fifth may be a score or a track id
POLYGON = 6  # minimum count of numbers in a polygon
MOST_CLASSES = 100_000


class LabelLines:
    """Reads label files.

    Args:
        names: class names by number, None for a gap.
        source: where they come from, for messages.
        only_boxes: ignore what follows the box (keypoints).
    """

    def __init__(self, names: Sequence[str | None], source: str, only_boxes: bool) -> None:
        self.names, self.source, self.only_boxes = names, source, only_boxes

    def read(self, path: str, width: int, height: int) -> list[LabelledObject]:
        """The objects of a label file, for an image of width x height pixels.

        Raises:
            UserError: with file and line, where a line cannot be read.
        """
        rows = [(i, line.split()) for i, line in enumerate(read_text(path).splitlines(), 1)]
        rows = [(i, tokens) for i, tokens in rows if tokens]
        try:
            most = max((decimals(t) for _, row in rows for t in row[1:]), default=0)
            return [
                self._object(tokens, width, height, min(USUAL_DIGITS, most)) for _, tokens in rows
            ]
        except ValueError:
            pass
        for i, tokens in rows:  # find the wrong line
            try:
                self._object(tokens, width, height, 0)
            except ValueError as error:
                raise UserError(f'{path}, line {i}: {error}') from error
        raise UserError(f'{path}: not lines of numbers')

    def _object(self, tokens: list[str], width: int, height: int, digits: int) -> LabelledObject:
        name = self._class(tokens[0])
        numbers = [_number(t) for t in tokens[1:]]
        if not is_finite(numbers):
            raise ValueError('a number that is not finite; correct the line')
        scales = (width, height)
        if self.only_boxes or len(numbers) in (BOX, BOX + 1):
            if len(numbers) < BOX:
                raise ValueError(f'{len(numbers)} numbers behind the class; a box has 4')
            _check_fractions(numbers[:4], tokens, 'boxes are x_center y_center width height')
            bbox = [0.0] * 4
            for i, scale in enumerate(scales):
                centre, side = tokens[1 + i], tokens[3 + i]
                error = uncertainty(side, digits, scale)
                bbox[2 + i] = shortest(numbers[2 + i] * scale, error)
                error = uncertainty(centre, digits, scale) + error / 2
                bbox[i] = shortest(numbers[i] * scale - numbers[2 + i] * scale / 2, error)
            return LabelledObject(name, bbox)
        if len(numbers) < POLYGON or len(numbers) % 2:
            raise ValueError(
                f'{len(numbers)} numbers behind the class; a box has 4, a polygon an even number '
                'from 6 on'
            )
        _check_fractions(numbers, tokens, 'polygons are x1 y1 x2 y2 x3 y3 ...')
        polygon = [
            shortest(v * scales[i % 2], uncertainty(tokens[1 + i], digits, scales[i % 2]))
            for i, v in enumerate(numbers)
        ]
        return LabelledObject(name, polygon_box([polygon]), [polygon])

    def _class(self, token: str) -> str:
        number = _number(token)
        names = self.names
        if not number.is_integer() or not 0 <= number < len(names) or names[int(number)] is None:
            raise ValueError(
                f'class {token}, but {self.source} names the classes 0 to {len(names) - 1}; '
                'correct the line or the names'
            )
        return names[int(number)]


def _number(token: str) -> float:
    try:
        return float(token)
    except ValueError:
        raise ValueError(
            f'{token!r} is no number; a line is "class x_center y_center width height", with '
            'spaces between, points in fractions, and nothing else'
        ) from None


def _check_fractions(numbers: Sequence[float], tokens: Sequence[str], what: str) -> None:
    """Raise ValueError for pixel coordinates; labels may exceed an image by its own size."""
    if max(map(abs, numbers)) > 2:
        more = ' ...' if len(numbers) > BOX else ''
        raise ValueError(
            f'{" ".join(tokens[1:5])}{more} are no fractions of the image; YOLO {what} between 0 '
            'and 1'
        )


def _check_twice(names: Sequence[str | None], path: Path, remedy: str) -> None:
    twice = {n for n in names if n is not None and names.count(n) > 1}
    if twice:
        raise UserError(f'{path}: the class name {preview(sorted(twice))} occurs twice; {remedy}')


def read_name_lines(path: Path) -> list[str | None]:
    """Class names by number from a file with one name per line.

    Raises:
        UserError: for no names, a repeated name, or an empty line between names, which is
        ambiguous.
    """
    names = [line.strip() for line in read_text(path).rstrip().splitlines()]
    remedy = 'write one name a line, in the order of the numbers'
    if not names:
        raise UserError(f'{path} lists no class names; {remedy}')
    if '' in names:
        raise UserError(
            f'{path}, line {names.index("") + 1} is empty, so that the numbers of the names behind '
            f'it are not certain; {remedy}'
        )
    _check_twice(names, path, remedy)
    return list(names)


def read_names(content: dict, path: Path) -> list[str | None]:
    """Class names by number, None for a gap."""
    names, count = content.get('names'), content.get('nc')
    remedy = 'write "names: [cat, dog]", or "names:" with lines "0: cat"'
    if isinstance(names, dict):
        try:
            numbered = {int(k): v for k, v in names.items()}
        except ValueError as error:
            raise UserError(f'{path}: names has a key that is no number; {remedy}') from error
        if len(numbered) < len(names) or min(numbered, default=0) < 0:
            raise UserError(f'{path}: names uses a number twice or one below 0; {remedy}')
        if max(numbered, default=0) > MOST_CLASSES:
            raise UserError(f'{path}: names has the class number {max(numbered)}; {remedy}')
        names = [numbered.get(i) for i in range(max(numbered, default=-1) + 1)]
    if not isinstance(names, list) or not names:
        raise UserError(f'{path}: no list of class names; {remedy}')
    wrong = [n for n in names if n is not None and not (isinstance(n, str) and n.strip())]
    if wrong:
        raise UserError(f'{path}: {wrong[0]!r} is no class name; {remedy}')
    names = [n if n is None else n.strip() for n in names]
    _check_twice(names, path, remedy)
    if isinstance(count, str) and count.isdecimal() and int(count) != len(names):
        raise UserError(
            f'{path}: nc is {count}, names has {counted(len(names), "entry")}; correct one of them'
        )
    return names
