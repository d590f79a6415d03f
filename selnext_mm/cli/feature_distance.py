"""``selnext-mm feature-distance``: mean feature cosine distance per block (Fig. 2)."""

import argparse
from dataclasses import asdict

from selnext_mm.cli.model_options import base_parser, run_models, write_rows
from selnext_mm.text import counted

PLACES = ('expansion', 'gated', 'block')


def build_parser() -> argparse.ArgumentParser:
    result = base_parser(
        'selnext-mm feature-distance',
        'Mean feature cosine distance of every block (equations 4 and 5) over a folder of '
        'images: 0 where all channels are alike, 0.5 where they are unrelated.',
    )
    result.add_argument(
        '--at',
        choices=PLACES,
        default='expansion',
        help='after the expansion layer as in Fig. 2, after the attention, or after the block '
        '(%(default)s)',
    )
    return result


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from selnext_mm.analysis.feature_distance import feature_distance

    def measure(model, inputs, on_batch):
        return feature_distance(model, inputs, args.at, on_batch)

    results, paths = run_models(args, measure)
    from selnext_mm.visualization.curves import draw_distances

    rows = [{'model': label, **asdict(b)} for label, blocks in results.items() for b in blocks]
    write_rows(args, rows)
    draw_distances(results, args.out, f'{counted(len(paths), "image")}, {args.at}')
    for label, blocks in results.items():
        mean = sum(b.mean for b in blocks) / len(blocks)
        blocks_seen, images = counted(len(blocks), 'block'), counted(len(paths), 'image')
        print(f'{label}: {mean:.4f} over {blocks_seen}, {images}')
    print(f'wrote {args.out}')
    return 0
