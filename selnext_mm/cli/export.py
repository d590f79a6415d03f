"""``selnext-mm export``: a trained model as a file for other programs, checked against PyTorch."""

import argparse
from pathlib import Path

from selnext_mm.cli.arguments import Options
from selnext_mm.cli.parser import Parser
from selnext_mm.errors import UserError

TARGETS = ('onnx', 'openvino', 'torch-export', 'safetensors')
EPILOG = """examples:
  selnext-mm export cls/selnext_t_in1k.py epoch_300.pth --to onnx --out selnext_t.onnx
  selnext-mm export my_config.py epoch_36.pth --to onnx --out detector.onnx
  selnext-mm export published/ --to onnx --out detector.onnx
  selnext-mm export my_config.py epoch_36.pth --to torch-export --out backbone.pt2
  selnext-mm export my_config.py epoch_36.pth --to safetensors --out weights.safetensors

The written file is run beside PyTorch: a classifier or backbone on inputs of several batches and
sizes, a whole detector on images at three sizes, beside "selnext-mm predict". If the results
differ nothing is written and the exit status is 1.
"""


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


def _add_int8_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--int8',
        action='store_true',
        help='--to onnx or openvino of a whole model: convolutions and linear layers in int8; '
        'gates, norms and last layers in float. What is lost is measured on --check-images (with '
        '--check-ann of a detector; a folder per class of a classifier)',
    )
    parser.add_argument(
        '--calibrate',
        nargs='+',
        metavar='IMAGES',
        help='for --int8: other images, for the ranges of values; 200 of them are used. Without '
        '--check-images, --calibrate or --data: the training and test set of the config',
    )
    parser.add_argument(
        '--max-loss',
        type=float,
        metavar='POINTS',
        help='for --int8: nothing is written if more is lost (1.0 AP of a detector, 0.5 top-1 of a '
        'classifier)',
    )


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm export',
        description='Write a classifier, a detector, or the backbone and neck of one, with batch, '
        'height and width left open.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        intermixed=True,
    )
    result.add_argument(
        'config',
        metavar='CONFIG',
        help='config file, a name under configs/, or a folder of "selnext-mm publish"',
    )
    result.add_argument(
        'checkpoint',
        nargs='?',
        metavar='CHECKPOINT',
        help='.pth or .safetensors; a published folder holds its own',
    )
    result.add_argument(
        '--to', dest='target', choices=TARGETS, help='default: by the suffix of FILE'
    )
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
        '--data',
        metavar='DIR',
        help='labels in any format of "train --data", in place of --check-images, --check-ann and '
        '--calibrate: its test images (else val) are checked or measured on',
    )
    result.add_argument(
        '--thresholds',
        metavar='JSON',
        help='of a detector: the lowest score of each class that is drawn and served, as '
        '"selnext-mm report --thresholds JSON" writes it',
    )
    _add_int8_arguments(result)
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


def refuse_file(name: str) -> None:
    """Raise :class:`UserError` if ``name``, which came alone, is no config."""
    from selnext_mm.checkpoints.hub import CHECKPOINTS

    suffix = Path(name).suffix
    if suffix in ('.onnx', '.xml'):
        raise UserError(f'{name} is an exported file already; selnext-mm predict {name} runs it')
    if suffix in CHECKPOINTS:
        raise UserError(
            f'{name} is a checkpoint; give its config first: selnext-mm export CONFIG {name} (a '
            'copy of the config lies beside every checkpoint)'
        )
    if not Path(name).exists():
        from selnext_mm.config_files import find_config

        find_config(name)  # raises if there is no config of that name


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)

    from selnext_mm.checkpoints.hub import holds_model
    from selnext_mm.export.options import MismatchError
    from selnext_mm.export.run import export_model

    if args.checkpoint is None:
        if not holds_model(args.config):
            refuse_file(args.config)
            raise UserError(
                f'{args.config} alone is no model; give CONFIG and CHECKPOINT, or a folder of '
                '"selnext-mm publish"'
            )
        args.checkpoint = args.config
    try:
        export_model(**vars(args))
    except MismatchError as error:
        print(error)
        return 1
    return 0
