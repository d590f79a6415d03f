"""``selnext-mm export``: a trained model as a file for other programs, checked against PyTorch."""

import argparse
import copy
import json
from pathlib import Path

from selnext_mm import __version__
from selnext_mm.cli.arguments import Options
from selnext_mm.cli.export_int8 import add_int8_arguments, check_int8, export_int8_classifier
from selnext_mm.cli.parser import Parser
from selnext_mm.disk import new_file
from selnext_mm.errors import UserError

TARGETS = ('onnx', 'openvino', 'torch-export', 'safetensors')
EPILOG = """examples:
  selnext-mm export cls/selnext_t_in1k.py epoch_300.pth --to onnx --out selnext_t.onnx
  selnext-mm export my_config.py epoch_36.pth --to onnx --out detector.onnx
  selnext-mm export my_config.py epoch_36.pth --to torch-export --out backbone.pt2
  selnext-mm export my_config.py epoch_36.pth --to safetensors --out weights.safetensors

The written file is run beside PyTorch: a classifier or backbone on inputs of several batches and
sizes, a whole detector on images at three sizes, beside "selnext-mm predict". If the results
differ nothing is written and the exit status is 1.
"""

OLDEST_OPSET = 18  # that torch's exporter writes; it does not convert to older ones


def _shape(text: str) -> tuple[int, int, int]:
    try:
        n, h, w = (int(v) for v in text.split('x'))
    except ValueError:
        n = h = w = 0
    if n < 1 or min(h, w) < 32:
        raise argparse.ArgumentTypeError(
            f'{text!r}; expected BATCHxHEIGHTxWIDTH with sides of 32 or more, such as 1x224x224'
        )
    return n, h, w


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm export',
        description='Write a classifier, a detector, or the backbone and neck of one, with batch, '
        'height and width left open.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('config', metavar='CONFIG', help='config file, or a name under configs/')
    result.add_argument('checkpoint', metavar='CHECKPOINT', help='.pth or .safetensors')
    result.add_argument('--to', dest='target', required=True, choices=TARGETS)
    result.add_argument(
        '--out', required=True, metavar='FILE', help='ends in .onnx, .xml, .pt2 or .safetensors'
    )
    result.add_argument('--force', action='store_true', help='overwrite FILE')
    result.add_argument(
        '--part',
        choices=('classifier', 'backbone', 'backbone-neck', 'detector'),
        help='default: the whole model; with torch-export backbone-neck of a detector',
    )
    result.add_argument(
        '--normalize',
        action='store_true',
        help='the graph takes 0..255 and subtracts the mean itself (a detector always does)',
    )
    result.add_argument(
        '--no-deploy',
        action='store_true',
        help='merge nothing, keep the layers as they were trained',
    )
    result.add_argument(
        '--check',
        nargs='+',
        type=_shape,
        metavar='NxHxW',
        help='inputs to compare on (1x224x224 3x256x384 2x203x333)',
    )
    result.add_argument(
        '--tolerance',
        type=float,
        default=1e-4,
        help='largest error, in units of the largest output where that is above 1; of a detector '
        'the largest difference of scores (%(default)s)',
    )
    result.add_argument(
        '--check-images',
        nargs='+',
        metavar='IMAGES',
        help="of a detector: images to compare on; default: four of the config's test set",
    )
    result.add_argument(
        '--check-ann',
        metavar='JSON',
        help='of a detector: COCO labels of --check-images; the AP of the file may differ by 0.1 '
        'from that of PyTorch',
    )
    result.add_argument(
        '--thresholds',
        metavar='JSON',
        help='of a detector: the lowest score of each class that is drawn and served, as '
        '"selnext-mm report --thresholds JSON" writes it',
    )
    add_int8_arguments(result)
    result.add_argument('--opset', type=int, help="ONNX operator set (the exporter's default)")
    result.add_argument(
        '--classes', nargs='+', metavar='NAME', help="class names; default: the checkpoint's"
    )
    result.add_argument(
        '--cfg-options',
        nargs='+',
        action=Options,
        metavar='KEY=VALUE',
        help='override values of the config',
    )
    return result


def check_options(args: argparse.Namespace) -> Path:
    from selnext_mm.export.writers import SUFFIXES, require

    out, suffix = Path(args.out), SUFFIXES[args.target]
    if out.suffix != suffix:
        raise UserError(f'--out {out}: --to {args.target} writes a file that ends in {suffix}')
    if out.is_dir():
        raise UserError(f'--out {out} is a directory; name a file')
    if out.exists() and not args.force:
        raise UserError(f'{out} exists; --force overwrites it')
    if args.target == 'safetensors':
        for name in (
            'part',
            'normalize',
            'no_deploy',
            'check',
            'check_images',
            'check_ann',
            'thresholds',
            'opset',
        ):
            if getattr(args, name):
                option = name.replace('_', '-')
                raise UserError(
                    f'--{option} has no meaning with --to safetensors, which holds all weights of '
                    'the model as they were trained'
                )
    if not args.tolerance > 0:
        raise UserError(f'--tolerance {args.tolerance:g}; expected a number above 0')
    if args.opset is not None and args.target == 'onnx':
        require('onnx')
        import onnx

        newest = onnx.defs.onnx_opset_version()
        if not OLDEST_OPSET <= args.opset <= newest:
            raise UserError(
                f'--opset {args.opset}; expected {OLDEST_OPSET} to {newest}, which torch '
                'writes and the installed onnx knows'
            )
    if args.opset is not None and args.target != 'onnx':
        raise UserError('--opset needs --to onnx')
    check_int8(args)
    require(args.target)
    return out


def describe(args: argparse.Namespace, loaded, part: str) -> dict[str, str]:
    """What a program needs to feed the file, and where the file comes from."""
    from selnext_mm.checkpoints.hub import local_path, sha256
    from selnext_mm.export.graphs import preprocessing

    mean, std, order = preprocessing(loaded.model)
    digest = sha256(local_path(args.checkpoint))
    return {
        'part': part,
        'classes': json.dumps(loaded.classes),
        'channels': order,
        'mean': json.dumps([round(v, 4) for v in mean.flatten().tolist()]),
        'std': json.dumps([round(v, 4) for v in std.flatten().tolist()]),
        'normalized_inside': str(args.normalize).lower(),
        'config': Path(args.config).name,
        'checkpoint_sha256': digest,
        'producer': f'selnext_mm {__version__}',
    }


def export_weights(args: argparse.Namespace, loaded, out: Path) -> int:
    """All weights as safetensors, with the classes in the header; read back and compared."""
    import torch

    from selnext_mm.checkpoints.files import load_file, save_file

    state = loaded.model.state_dict()
    with new_file(out, '--out') as path:
        save_file(state, path, describe(args, loaded, 'weights'))
        again = load_file(path)
        if again.keys() != state.keys() or any(
            not torch.equal(again[k], state[k].cpu()) for k in state
        ):
            raise UserError(f'{out} does not read back as it was written; nothing is left there')
        size = path.stat().st_size
    print(f'wrote {out}: {len(state)} tensors, {size / 1e6:.1f} MB, read back bit by bit')
    return 0


def export_graph(args: argparse.Namespace, loaded, out: Path) -> int:
    from selnext_mm.export.check import SHAPES, compare
    from selnext_mm.export.graphs import build_graph, choose_part
    from selnext_mm.export.merge import merge
    from selnext_mm.export.pipeline import classifier_metadata
    from selnext_mm.export.writers import (
        BESIDE,
        write_onnx,
        write_openvino,
        write_torch_export,
    )

    part = choose_part(loaded.model, args.part, args.target)
    if part == 'detector':
        from selnext_mm.cli.export_detector import export_detector

        return export_detector(args, loaded, out)
    whole = part == 'classifier' and args.int8
    if args.int8 and not whole:
        raise UserError(f'--int8 is for whole models, not for --part {part}')
    for option in ('check_images', 'check_ann', 'thresholds'):
        if getattr(args, option) and not (whole and option == 'check_images'):
            name = option.replace('_', '-')
            raise UserError(f'--{name} has no meaning with --part {part}; it is for a detector')
    reference = build_graph(loaded.model, part, args.normalize)
    model = copy.deepcopy(loaded.model)
    merged = [] if args.no_deploy else merge(model)
    graph = build_graph(model, part, args.normalize)
    metadata = describe(args, loaded, part)
    if part == 'classifier':
        metadata |= classifier_metadata(loaded)
    # Noise as wide as images are: around 0 after the normalisation, around 128 before it.
    scale = (128.0, 50.0) if args.normalize else (0.0, 1.0)
    form = ', '.join(merged) or 'as trained'
    print(f'{part} of {args.config} ({form}): {", ".join(graph.outputs)}', flush=True)
    if args.int8:
        return export_int8_classifier(args, graph, metadata, out)
    with new_file(out, '--out', *BESIDE.get(args.target, ())) as path:
        if args.target == 'onnx':
            run = write_onnx(graph, path, metadata, args.opset)
        elif args.target == 'openvino':
            run = write_openvino(graph, path, metadata)
        else:
            run = write_torch_export(graph, path, metadata)
        worst = 0.0
        print(f'{"input":>16}  {"max abs error":>13}  {"largest output":>14}')
        for d in compare(reference, run, tuple(args.check or SHAPES), scale):
            n, h, w = d.shape
            print(f'{f"{n}x3x{h}x{w}":>16}  {d.error:13.2e}  {d.scale:14.4g}', flush=True)
            worst = max(worst, d.relative)
        size = path.stat().st_size
        if worst > args.tolerance:
            path.unlink()
    if worst > args.tolerance:
        print(f'error {worst:.2e} is above --tolerance {args.tolerance:g}; nothing was written')
        return 1
    print(f'wrote {out}: {size / 1e6:.1f} MB, largest error {worst:.2e} (tolerance '
          f'{args.tolerance:g})')  # fmt: skip
    return 0


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    out = check_options(args)

    from selnext_mm.config.build import quiet
    from selnext_mm.inference.loading import load_for_inference

    with quiet():
        loaded = load_for_inference(
            args.config,
            args.checkpoint,
            'cpu',
            classes=args.classes,
            options=args.cfg_options,
            deployed=False,
        )
    if args.target == 'safetensors':
        return export_weights(args, loaded, out)
    return export_graph(args, loaded, out)
