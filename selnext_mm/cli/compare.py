"""``selnext-mm compare``: configs x seeds on folders of pictures, one table."""

import argparse
import shlex
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.config_files import config_leaves
from selnext_mm.errors import UserError

FOLDER = 'cls/cifar10'
# What two cores do in about half an hour for fourteen configs and three seeds.
REDUCED = dict(train_images=4000, val_images=1000, epochs=5, size=32)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = Parser(
        prog='selnext-mm compare',
        description='Train configs with several seeds by one recipe, test them, measure their '
        'feature distance, and write one table. On an accelerator everything is used; on a CPU '
        'the comparison is reduced unless the numbers are given, and the table says so. A second '
        'call goes on; the same call in another shell shares the work. mmengine chooses the '
        'device, CUDA_VISIBLE_DEVICES what it sees.',
    )
    parser.add_argument(
        'configs', nargs='*', metavar='CONFIG', help=f'configs (default: all of {FOLDER}/)'
    )
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument(
        '--data-root',
        required=True,
        metavar='DIR|TAR',
        help='folder with train/<class>/ and test/<class>/, or a tar archive of one, which is '
        'unpacked beside --out',
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='runs and tables')
    for name, what in (('train', 'training'), ('val', 'test')):
        parser.add_argument(
            f'--{name}-images',
            type=int,
            metavar='N',
            help=f'{what} images, balanced over the classes; 0 for all '
            f'(all, on a CPU {REDUCED[f"{name}_images"]})',
        )
    parser.add_argument(
        '--epochs', type=int, help=f"0 for the configs' own (these, on a CPU {REDUCED['epochs']})"
    )
    parser.add_argument(
        '--size',
        type=int,
        help="side that the pictures are resized to, 0 for the configs' own "
        f'(these, on a CPU {REDUCED["size"]}: the last stage is then 1 x 1, where attention has '
        'nothing to average)',
    )
    parser.add_argument('--threads', type=int, help='CPU threads of this process')
    parser.add_argument(
        '--workers', type=int, help="data-loading processes (the configs', on a CPU none)"
    )
    parser.add_argument(
        '--table-only', action='store_true', help='run nothing, write the table of what is finished'
    )
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> None:
    """Numbers that cannot be meant.

    Raises:
        UserError: naming the option.
    """
    for name, low in (
        *(('train_images', 0), ('val_images', 0), ('epochs', 0), ('size', 0)),
        *(('threads', 1), ('workers', 0)),
    ):
        value = getattr(args, name)
        if value is not None and value < low:
            raise UserError(f'--{name.replace("_", "-")} {value}; expected {low} or more')
    if args.size and args.size < 32:
        raise UserError(f'--size {args.size}; the backbones need 32 or more')
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        raise UserError(f'--seeds {args.seeds}; expected different numbers from 0 on')


def data_root(given: str, out: Path) -> Path:
    from selnext_mm.datasets.class_folders import ARCHIVES, find_root, is_archive, unpack

    path = Path(given).expanduser()
    if path.is_file() and not is_archive(path):
        raise UserError(f'--data-root {given}; expected a folder or one of {", ".join(ARCHIVES)}')
    if is_archive(path):
        path = unpack(path, out.absolute().parent / f'{path.name.split(".")[0]}_unpacked')
    return find_root(path).resolve()


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    check(args)
    import torch
    from mmengine.device import get_device

    from selnext_mm.analysis.comparison.plan import load_models, plan
    from selnext_mm.analysis.comparison.runs import run_all
    from selnext_mm.analysis.comparison.table import write_tables
    from selnext_mm.compat import silence_known_warnings

    silence_known_warnings()
    if args.threads:
        torch.set_num_threads(args.threads)
    names = args.configs or [x for x in config_leaves() if x.startswith(f'{FOLDER}/')]
    models = load_models(names)
    out = Path(args.out)
    root = data_root(args.data_root, out)
    cpu = get_device() == 'cpu'
    amount = {}
    for name, reduced in REDUCED.items():
        given = getattr(args, name)
        if given is None:
            given = reduced if cpu else 0
        amount[name.replace('val', 'test')] = given or None
    runs, protocol = plan(models, args.seeds, root, out, **amount)
    print(f'{"REDUCED" if protocol.reduced else "FULL"} comparison on {get_device()}: {protocol}')
    given = [a for a in argv or [] if a != '--table-only']
    command = f'selnext-mm compare {shlex.join(given)}'
    try:
        if not args.table_only:
            run_all(runs, protocol, root, out, args.workers, lambda x: print(x, flush=True))
    finally:
        text = write_tables(runs, protocol, out, command)
    print(f'\n{text}\nwrote {out / "comparison.md"}, .csv and .json')
    return 0
