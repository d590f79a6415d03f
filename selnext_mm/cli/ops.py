"""``selnext-mm ops``: which operators of mmcv this environment has, and putting ours into it."""

import argparse

from selnext_mm.cli.parser import Parser
from selnext_mm.mmcv_ext import install as ext

EPILOG = """Programs that import selnext_mm, or load a config that does (custom_imports), need no
--install: the import provides the operators. Others import mmcv.ops first: mmdet's own
tools/test.py, and its inferencers.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='selnext-mm ops',
        description='Say where the operators of mmcv come from in this environment, or let '
        'programs that do not know selnext_mm use those written in torch, with mmcv-lite.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--install', action='store_true', help='put mmcv/_ext.py into mmcv')
    what.add_argument('--remove', action='store_true', help='take it away again')
    parser.add_argument(
        '--site-packages',
        metavar='DIR',
        help='the folder that holds mmcv (default: that of this Python)',
    )
    return parser


def state(site_packages: str | None) -> str:
    """One line on the operators of the environment."""
    folder = ext.mmcv_folder(site_packages)
    if compiled := ext.compiled_file(folder):
        return f'compiled: {compiled}'
    if ext.is_ours(folder / ext.FILE):
        return f'in torch, for all programs: {folder / ext.FILE}'
    return (
        f'in torch, for programs that import selnext_mm: {folder} has no compiled operators '
        '("selnext-mm ops --install" is for all programs)'
    )


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.install:
        print(f'installed {ext.install(args.site_packages)}')
    elif args.remove:
        path = ext.remove(args.site_packages)
        print(f'removed {path}' if path else 'nothing to remove')
    else:
        print(state(args.site_packages))
    return 0
