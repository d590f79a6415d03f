"""``selnext-mm publish``: a run as a folder fit for the Hugging Face Hub."""

import argparse
import re

from selnext_mm.cli.parser import Parser
from selnext_mm.errors import UserError

REPO = re.compile(r'[\w.-]+/[\w.-]+')


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm publish',
        description='Write a folder with the weights of a run as safetensors, its resolved config, '
        'how images are prepared, and a model card. Without --push nothing is sent anywhere.',
    )
    add = result.add_argument
    add('work_dir', metavar='WORK_DIR', help='folder of a run')
    add('--to', required=True, metavar='DIR', help='folder to make')
    add('--checkpoint', metavar='FILE', help='default: the best of the run, else the last')
    add('--repo', metavar='OWNER/REPO', help='name on the Hub, for the commands of the card')
    add(
        '--push',
        metavar='OWNER/REPO',
        help='send the folder to this repository of the Hub, with your token ("hf auth login")',
    )
    add('--private', action='store_true', help='with --push: only to a private repository')
    add('--licence', '--license', default='other', help='of the weights (default: %(default)s)')
    add(
        '--dtype',
        choices=('float32', 'float16'),
        default='float32',
        help='of the stored weights; float16 takes half the space (default: %(default)s)',
    )
    add(
        '--note',
        action='append',
        default=[],
        metavar='TEXT',
        help='a sentence for the card, such as where the data is from; again for another one',
    )
    add('--force', action='store_true', help='replace the published files that are in DIR')
    add('--onnx', action='store_true', help='an ONNX file, too, checked against PyTorch')
    add('--check-images', metavar='DIR', help='images to check the ONNX file of a detector with')
    return result


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    for option, name in (('--repo', args.repo), ('--push', args.push)):
        if name and not REPO.fullmatch(name):
            raise UserError(f'{option} {name}; expected OWNER/REPO')
    if args.push and args.repo not in (None, args.push):
        raise UserError(f'--repo {args.repo} and --push {args.push} differ; --push alone is enough')
    if args.private and not args.push:
        raise UserError('--private needs --push')
    if args.check_images and not args.onnx:
        raise UserError('--check-images needs --onnx')

    from selnext_mm.publish.folder import ONNX
    from selnext_mm.publish.run import publish_run

    done = publish_run(
        args.work_dir,
        args.to,
        checkpoint=args.checkpoint,
        licence=args.licence,
        repo=args.repo,
        dtype=args.dtype,
        notes=args.note,
        force=args.force,
        onnx=args.onnx,
        check_images=args.check_images,
        push_to=args.push,
        private=args.private,
    )
    if done.mismatch:
        print(done.mismatch)
    without = f', without {ONNX}, which failed its check' if done.mismatch else ''
    print(f'wrote {args.to}{without}')
    for path in sorted(done.folder.iterdir()):
        print(f'  {path.name:<25} {path.stat().st_size / 1e6:8.2f} MB')
    if done.address:
        print(f'\nsent: {done.address}')
        return 0
    name = args.push or args.repo or 'OWNER/REPO'
    print(f'\nRead README.md before you give it away, then: hf upload {name} {args.to}')
    return int(bool(done.mismatch))
