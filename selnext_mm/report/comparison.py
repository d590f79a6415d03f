"""Two detectors, image by image: which images got better, and which got worse."""

from selnext_mm.evaluation.matching import ImageMatch

ROWS = 200  # images of the table, those with the largest change


def _counts(match: ImageMatch) -> tuple[int, int, int]:
    """(right predictions, objects that were not found, wrong predictions) of an image."""
    right = match.found_state.count('right')
    unfound = match.truth_state.count('missed') + match.truth_state.count('confused')
    return right, unfound, len(match.found_state) - right


def changes(
    first: dict[int, ImageMatch], second: dict[int, ImageMatch]
) -> list[tuple[float, int, float, float]]:
    """(change of quality, image, quality before, quality after) of the images that changed.

    The worst change comes first. An image that is correctly left empty has the quality 1. Images
    without objects and without predictions in both runs are left out.
    """
    rows = []
    for image in first.keys() & second.keys():
        before, after = first[image].quality, second[image].quality
        if before is None and after is None:
            continue
        before = 1.0 if before is None else before
        after = 1.0 if after is None else after
        if before != after:
            rows.append((after - before, image, before, after))
    return sorted(rows)


def comparison(
    names: list[str], matches: list[dict[int, ImageMatch]], files: dict[int, str]
) -> list[dict]:
    """For every run after the first: how many images got better and worse, and a table of them.

    Args:
        names: of the runs.
        matches: for every run, image id -> match.
        files: image id -> file name.
    """
    parts = []
    for name, second in zip(names[1:], matches[1:], strict=True):
        rows = changes(matches[0], second)
        better = sum(row[0] > 0 for row in rows)
        largest = sorted(rows, key=lambda row: (-abs(row[0]), row[1]))[:ROWS]
        table = []
        for change, image, before, after in sorted(largest):
            sides = zip(_counts(matches[0][image]), _counts(second[image]), strict=True)
            steps = [f'{a} → {b}' for a, b in sides]
            table.append([files[image], f'{change:+.3f}', before, after, *steps])
        more = f' (the {ROWS} that changed most are listed)' if len(rows) > ROWS else ''
        parts.append(
            {
                'name': name,
                'against': names[0],
                'head': f'Images that got better: {better}, worse: {len(rows) - better}, '
                f'unchanged: {len(files) - len(rows)}{more}',
                'table': {
                    'head': ['image', 'change', 'before', 'after', 'right', 'not found', 'wrong'],
                    'rows': table,
                },
            }
        )
    return parts
