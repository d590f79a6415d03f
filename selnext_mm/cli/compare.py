"""``selnext-mm compare``: configs x seeds on folders of images, one table."""

import argparse
import shlex

from selnext_mm.cli.parser import Parser


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    from selnext_mm.analysis.comparison.compare import FOLDER, QUICK_CPU_BATCH, REDUCED
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


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    from selnext_mm.analysis.comparison.compare import Comparison, compare

    options = vars(args)
    table_only = options.pop('table_only')
    given = [a for a in argv or [] if a != '--table-only']
    compare(Comparison(**options), f'selnext-mm compare {shlex.join(given)}', table_only)
    return 0
