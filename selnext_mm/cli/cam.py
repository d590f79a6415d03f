"""``selnext-mm cam``: heat maps of what several classifiers look at, side by side (Fig. 6)."""

import argparse
import itertools

from selnext_mm.cli.model_options import base_parser, run_models, write_rows

METHODS = ('ablation', 'gradcam', 'gradcam++', 'hirescam', 'layercam')


def build_parser() -> argparse.ArgumentParser:
    result = base_parser(
        'selnext-mm cam',
        'Class activation maps of classifiers: a row per image, a column per model, over the '
        'predicted class and its probability.',
        num=8,
    )
    result.add_argument(
        '--method', choices=METHODS, default='ablation', help='%(default)s, as in Fig. 6'
    )
    result.add_argument(
        '--target-class',
        metavar='CLASS',
        help='name or index of the class to explain (the one each image is taken for)',
    )
    result.add_argument(
        '--layer',
        nargs='+',
        metavar='NAME',
        help='module of the backbone such as stages.2, one or one per model (its last stage)',
    )
    return result


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    from selnext_mm.analysis.cam import METHODS as KNOWN
    from selnext_mm.analysis.cam import class_maps, grad_cam
    from selnext_mm.analysis.pictures import read_image
    from selnext_mm.analysis.target_class import class_name, find_class
    from selnext_mm.visualization.cam_sheet import draw_cams

    grad_cam()
    layers = itertools.cycle(args.layer or [None])  # one for all models, or one per model

    def measure(model, inputs, on_batch):
        target = None if args.target_class is None else find_class(model, args.target_class)
        maps = class_maps(
            model, inputs, args.method, target, next(layers), on_batch, args.batch_size
        )
        used = {index for m in maps for index in (m.predicted, m.target)}
        return maps, {index: class_name(model, index) for index in used}

    results, paths = run_models(args, measure)
    maps = {label: found for label, (found, _) in results.items()}
    names = {label: known for label, (_, known) in results.items()}
    rows = [
        {
            'model': label,
            'image': str(path),
            'predicted': m.predicted,
            'predicted_name': names[label][m.predicted],
            'score': m.score,
            'target': m.target,
            'target_name': names[label][m.target],
            'target_score': m.target_score,
            'method': args.method,
            'layer': m.layer,
        }
        for label, found in maps.items()
        for path, m in zip(paths, found, strict=True)
    ]
    write_rows(args, rows)
    draw_cams(
        *(maps, names, paths, lambda path: read_image(path, args.size)),
        *(args.out, KNOWN[args.method][1]),
        with_target=args.target_class is not None,
    )
    for label, found in maps.items():
        print(
            f'{label}: {len(found)} maps at {found[0].layer}, '
            f'mean score {sum(m.score for m in found) / len(found):.3f}'
        )
    print(f'wrote {args.out}')
    return 0
