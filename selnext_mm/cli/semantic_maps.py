"""``selnext-mm semantic-maps DIR``: label maps for semantic segmentation from instance masks."""

import argparse
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.datasets.semantic_maps import (
    IGNORED,
    MapSummary,
    instance_files,
    write_semantic_maps,
)


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm semantic-maps',
        description='Draw the instance masks of COCO files as label maps, one PNG per image, as '
        'mmsegmentation reads them: 0 background, k the k-th category, 255 crowds, which are '
        'ignored. Where masks overlap, the smaller object is on top.',
    )
    result.add_argument('dir', metavar='DIR', help='folder with annotations/instances_*.json')
    result.add_argument('--out', help='folder for <split>/*.png; default: DIR/semantic')
    return result


def report(summaries: dict[str, MapSummary]) -> str:
    """A table: images, and the share of the pixels of each class, of each split."""
    names = list(dict.fromkeys(name for s in summaries.values() for name in s.classes))
    width = max(10, *(len(name) + 2 for name in names))
    lines = [f'{"":{width}}' + ''.join(f'{split:>12}' for split in summaries)]
    cells = [f'{summary.images:12}' for summary in summaries.values()]
    lines.append(f'{"images":{width}}' + ''.join(cells))
    for name in [*names, 'ignored']:
        cells = []
        for summary in summaries.values():
            known = name in summary.classes
            label = summary.classes.index(name) if known else IGNORED
            share = summary.share(label) if known or name == 'ignored' else 0
            cells.append(f'{share:12.1%}')
        lines.append(f'{"  " + name:{width}}' + ''.join(cells))
    return '\n'.join(lines)


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    out = Path(args.out or Path(args.dir, 'semantic')).expanduser()
    summaries = {
        split: write_semantic_maps(file, out / split)
        for split, file in instance_files(args.dir).items()
    }
    print(f'wrote {out}\n\n{report(summaries)}')
    return 0
