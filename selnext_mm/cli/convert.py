"""``selnext-mm convert``: another project's weights, under our names."""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selnext_mm.checkpoints.convert import convert_file
from selnext_mm.checkpoints.keymaps.rules import Arch, KeyMapping
from selnext_mm.checkpoints.keymaps.selnext import AT_INIT_ATTENTION
from selnext_mm.checkpoints.keymaps.sources import KEY_MAPS, TARGETS
from selnext_mm.checkpoints.pretrained import WITHOUT_ATTENTION
from selnext_mm.cli.parser import Parser
from selnext_mm.models.backbones import patnet
from selnext_mm.models.backbones.selnext import ARCHS
from selnext_mm.text import preview

EPILOG = """examples:
  selnext-mm convert selnext_tiny.pth t.pth --from selnext --to detection
  selnext-mm convert selnext_tiny.pth t_cls.pth --from selnext
  selnext-mm convert convnext_tiny.pth t.pth --from convnext-mmpretrain --to detection
  selnext-mm convert na_resnet50.pth r50.pth --from nanet
  selnext-mm convert patnet_s.pth s.pth --from partialnet --to detection
  selnext-mm convert epoch_300.pth t.pth --from selnext_mm --to detection
The last line of the report says how a config takes OUT.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='selnext-mm convert',
        description='Convert weights of another project. Every key is mapped, or dropped with a '
        'reason, or an error; files are never unpickled beyond tensors and plain containers.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('input', metavar='IN', help='the checkpoint (.pth, .pt, .safetensors)')
    parser.add_argument('output', metavar='OUT', help='the file to write (.pth or .safetensors)')
    parser.add_argument(
        '--from', dest='source', required=True, choices=KEY_MAPS, help='whose weights IN holds'
    )
    parser.add_argument(
        '--to', dest='target', default='classifier', choices=TARGETS, help='default: %(default)s'
    )
    parser.add_argument(
        '--weights',
        default='raw',
        choices=('raw', 'ema', 'auto', 'model', 'model_ema'),
        help="which weights of IN, where it has both: raw (default), from which the papers' "
        'detectors and transfer start, or ema, the averaged ones; auto and model are raw, '
        'model_ema is ema',
    )
    parser.add_argument('--force', action='store_true', help='overwrite OUT')
    return parser


def describe(arch: Arch | str) -> str:
    """The backbone arguments that build ``arch``."""
    if isinstance(arch, str):
        return arch or 'no arguments'
    archs: Mapping[str, Any] = patnet.ARCHS if arch.model == 'PATNet' else ARCHS
    names = {tuple(settings[:2]): name for name, settings in archs.items()}
    name = names.get((arch.depths, arch.channels))
    shape = f'depths={list(arch.depths)}, channels={list(arch.channels)}'
    text = f"arch='{name}' ({shape})" if name else f'arch=dict({shape})'
    if arch.num_heads and arch.num_heads != (archs[name].num_heads if name else 6):
        text += f', num_heads={arch.num_heads}'
    if not arch.spatial:
        text += ', spatial_cfg=None'
    return text if arch.layer_scale else f'{text}, layer_scale_init_value=0'


def report(result: KeyMapping, total: int, weights: str, out: Path) -> str:
    """What was taken, mapped, dropped and left at its initial values, one line each."""
    groups = defaultdict(list)
    for key, reason in result.dropped.items():
        groups[reason].append(key)
    lines = [
        f'weights   {weights}',
        f'model     {result.model}, {describe(result.arch)}',
        f'tensors   {total} in, {len(result.state)} mapped, {len(result.dropped)} dropped',
    ]
    lines += [
        f'dropped   {len(keys)}: {reason} ({preview(keys, 2)})' for reason, keys in groups.items()
    ]
    lines += [f'at init   {pattern}: {reason}' for pattern, reason in result.at_init.items()]
    lines.append(f'written   {out}')
    return '\n'.join([*lines, f'use       {usage(result, out)}'])


def usage(result: KeyMapping, out: Path) -> str:
    """The ``init_cfg`` of the backbone that reads ``out``."""
    arguments = f"type='Pretrained', checkpoint='{out}', prefix='backbone.'"
    if AT_INIT_ATTENTION.keys() <= result.at_init.keys():
        arguments += f', min_loaded={WITHOUT_ATTENTION}'
    return f'model.backbone.init_cfg = dict({arguments})'


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    done = convert_file(
        *(args.input, args.output, args.source, args.target, args.weights, args.force),
        describe=describe,
    )
    print(report(done.mapping, done.tensors, done.weights, done.out))
    return 0
