"""``selnext-mm gate-scales``: channel scales before and after the gate's bound or norm (Fig. 3)."""

import argparse

from selnext_mm.cli.model_options import base_parser, run_models, write_rows
from selnext_mm.text import counted


def build_parser() -> argparse.ArgumentParser:
    return base_parser(
        'selnext-mm gate-scales',
        'Scales of every attention of a model (SE, SELN, ECA, GRN, NA, CBAM, the gates of PATNet) '
        'before and after sigmoid or LN: mean and standard deviation over a folder of images.',
    )


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from selnext_mm.analysis.gate_scales import gate_scales

    results, paths = run_models(args, gate_scales)
    from selnext_mm.visualization.curves import draw_scales

    columns = ('before', 'before_std', 'after', 'after_std')
    rows = [
        {
            'model': label,
            'module': scales.module,
            'kind': scales.kind,
            'channel': channel,
            **dict(zip(columns, values, strict=True)),
        }
        for label, modules in results.items()
        for scales in modules
        for channel, values in enumerate(
            zip(*(getattr(scales, c).tolist() for c in columns), strict=True)
        )
    ]
    write_rows(args, rows)
    draw_scales(results, args.out, f'mean over {counted(len(paths), "image")}')
    for label, modules in results.items():
        for s in modules:
            print(
                f'{label} {s.module} ({s.kind}): after the gate {s.after.min():.3f} .. '
                f'{s.after.max():.3f}, spread {s.spread:.3f}, {s.negative:.0%} negative'
            )
    print(f'wrote {args.out}')
    return 0
