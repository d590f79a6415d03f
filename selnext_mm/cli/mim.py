"""``selnext-mm mim``: our configs by their long names in the packages that mim looks into."""

import argparse

from selnext_mm.cli.parser import Parser
from selnext_mm.config import aliases


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog='selnext-mm mim',
        description='Let "mim train mmdet NAME.py" find the configs of this package by their long '
        'names, as mim train mmpretrain and mim train mmseg. mim looks names up in the folder of '
        'the package that it is given: --install puts a small file for each config there.',
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument('--install', action='store_true', help='put the files there, or renew them')
    what.add_argument('--remove', action='store_true', help='take them away again')
    parser.add_argument(
        '--site-packages',
        metavar='DIR',
        help='the folder that holds mmdet (default: that of this Python)',
    )
    return parser


def state(site_packages: str | None) -> list[str]:
    """A line on each installed package."""
    lines = []
    for package, folder in aliases.folders(site_packages).items():
        if not (files := aliases.present(folder)):
            found = 'none of our configs ("selnext-mm mim --install" puts them there)'
        elif aliases.is_complete(package, folder):
            found = f'{len(files)} of our configs in {files[0].parent}'
        else:
            found = (
                f'configs of another version of ours in {files[0].parent}; --install renews them'
            )
        lines.append(f'{package}: {found}')
    return lines


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.install:
        for folder, count in aliases.install(args.site_packages).items():
            print(f'{count} configs are in {folder}')
    elif args.remove:
        removed = aliases.remove(args.site_packages).items()
        lines = [f'removed {count} configs from {folder}' for folder, count in removed]
        print('\n'.join(lines) or 'nothing to remove')
    else:
        print('\n'.join(state(args.site_packages)))
    return 0
