"""``selnext-mm compare``: configs x seeds on folders of images, one table."""

import argparse
import multiprocessing
import os
import shlex
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.config_files import config_leaves
from selnext_mm.errors import UserError

FOLDER = 'cls/cifar10'
# What two cores do in about half an hour for fourteen configs and three seeds.
REDUCED = dict(train_images=4000, val_images=1000, epochs=5, size=32)
# The same for the quick recipe, six configs and three seeds in about an hour.
QUICK_REDUCED = dict(train_images=8000, val_images=2000, epochs=8, size=64)
QUICK_CPU_BATCH = 128


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    from selnext_mm.analysis.comparison.quick import BATCH_SIZE, EPOCHS

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
    parser.add_argument(
        '--recipe',
        choices=('own', 'quick'),
        default='own',
        help="the configs' own, or a quick one: images decoded once, augmented on the device, one "
        f'cycle of {EPOCHS} epochs in batches of {BATCH_SIZE} (default: %(default)s)',
    )
    parser.add_argument(
        '--batch-size',
        type=int,
        metavar='N',
        help=f'of the quick recipe (default: {BATCH_SIZE}, on a CPU {QUICK_CPU_BATCH}); the lr '
        'follows its square root',
    )
    parser.add_argument(
        '--parallel', type=int, default=1, metavar='N', help='processes that share the runs'
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
        help="side that the images are resized to, 0 for the configs' own "
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
        *(('threads', 1), ('workers', 0), ('batch_size', 2), ('parallel', 1)),
    ):
        value = getattr(args, name)
        if value is not None and value < low:
            raise UserError(f'--{name.replace("_", "-")} {value}; expected {low} or more')
    if args.size and args.size < 32:
        raise UserError(f'--size {args.size}; the backbones need 32 or more')
    if args.batch_size and args.recipe != 'quick':
        raise UserError(f'--batch-size {args.batch_size} needs --recipe quick; configs have theirs')
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


def amounts(args: argparse.Namespace, cpu: bool) -> dict[str, int | None]:
    """How much is trained and tested; None for all, and for the configs' own."""
    from selnext_mm.analysis.comparison.quick import BATCH_SIZE

    amount = {}
    for name, reduced in (QUICK_REDUCED if args.recipe == 'quick' else REDUCED).items():
        given = getattr(args, name)
        if given is None:
            given = reduced if cpu else 0
        amount[name.replace('val', 'test')] = given or None
    if args.recipe == 'quick':
        amount['quick_batch_size'] = args.batch_size or (QUICK_CPU_BATCH if cpu else BATCH_SIZE)
    return amount


def planned(args: argparse.Namespace) -> tuple:
    """(runs, protocol, folder of the data) of the options."""
    import torch
    from mmengine.device import get_device

    from selnext_mm.analysis.comparison.plan import load_models, plan
    from selnext_mm.compat import silence_known_warnings

    silence_known_warnings()
    if args.threads or args.parallel > 1:
        torch.set_num_threads(args.threads or max(1, (os.cpu_count() or 1) // args.parallel))
    names = args.configs or [x for x in config_leaves() if x.startswith(f'{FOLDER}/')]
    amount = amounts(args, get_device() == 'cpu')
    models = load_models(names, amount.get('quick_batch_size'))
    out = Path(args.out)
    root = data_root(args.data_root, out)
    runs, protocol = plan(models, args.seeds, root, out, **amount)
    return runs, protocol, root


def share(argv: list[str] | None) -> None:
    """Work on the runs of another process's comparison."""
    from selnext_mm.analysis.comparison.runs import run_all

    args = parse_args(argv)
    runs, protocol, root = planned(args)
    run_all(runs, protocol, root, Path(args.out), args.workers, lambda x: print(x, flush=True))


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    check(args)
    from mmengine.device import get_device

    from selnext_mm.analysis.comparison.runs import run_all
    from selnext_mm.analysis.comparison.table import write_tables

    runs, protocol, root = planned(args)
    out = Path(args.out)
    print(f'{"REDUCED" if protocol.reduced else "FULL"} comparison on {get_device()}: {protocol}')
    given = [a for a in argv or [] if a != '--table-only']
    command = f'selnext-mm compare {shlex.join(given)}'
    spawn = multiprocessing.get_context('spawn')
    others = [spawn.Process(target=share, args=(argv,)) for _ in range(args.parallel - 1)]
    try:
        if not args.table_only:
            for other in others:
                other.start()
            run_all(runs, protocol, root, out, args.workers, lambda x: print(x, flush=True))
            for other in others:
                other.join()
    finally:
        text = write_tables(runs, protocol, out, command)
    print(f'\n{text}\nwrote {out / "comparison.md"}, .csv and .json')
    if any(other.exitcode for other in others):
        raise UserError('a process of --parallel failed, see above; the same command goes on')
    return 0
