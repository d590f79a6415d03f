"""``selnext-mm publish``: a run as a folder fit for the Hugging Face Hub."""

import argparse
import re
from pathlib import Path

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

    from selnext_mm.publish.push import check_push, push

    if args.push:
        check_push(args.push)
    from selnext_mm.publish.folder import CONFIG, FILES, ONNX, WEIGHTS, name_onnx, publish

    if args.check_images:  # before anything is written
        from selnext_mm.export.detection.check import given_pictures

        given_pictures(args.check_images)
    repo = args.push or args.repo
    folder = publish(
        *(args.work_dir, args.to, args.checkpoint, args.licence, repo, args.dtype, args.note),
        force=args.force,
    )
    status = 0
    if args.onnx:
        from selnext_mm.export.options import MismatchError
        from selnext_mm.export.run import export_model

        paths = (folder / CONFIG, folder / WEIGHTS, folder / ONNX)
        images = [args.check_images] if args.check_images else None
        try:
            export_model(*paths, check_images=images)
            name_onnx(folder)
        except MismatchError as error:
            print(error)
            status = 1
        except UserError as error:
            raise UserError(f'{error}. {args.to} is written, without {ONNX}') from error
    print(f'wrote {args.to}' + (f', without {ONNX}, which failed its check' if status else ''))
    for path in sorted(Path(folder).iterdir()):
        print(f'  {path.name:<25} {path.stat().st_size / 1e6:8.2f} MB')
    if args.push and status == 0:
        files = [*FILES, ONNX] if args.onnx else FILES
        print(f'\nsent: {push(folder, args.push, files, args.private)}')
        return 0
    name = repo or 'OWNER/REPO'
    print(f'\nRead README.md before you give it away, then: hf upload {name} {args.to}')
    return status
