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
        'how pictures are prepared, and a model card. Nothing is sent anywhere; "hf upload '
        'OWNER/REPO DIR" does that.',
    )
    add = result.add_argument
    add('work_dir', metavar='WORK_DIR', help='folder of a run')
    add('--to', required=True, metavar='DIR', help='folder to make')
    add('--checkpoint', metavar='FILE', help='default: the best of the run, else the last')
    add('--repo', metavar='OWNER/REPO', help='name on the Hub, for the commands of the card')
    add('--licence', '--license', default='other', help='of the weights (default: %(default)s)')
    add('--onnx', action='store_true', help='an ONNX file, too, checked against PyTorch')
    add('--check-images', metavar='DIR', help='pictures to check the ONNX file of a detector with')
    return result


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    if args.repo and not REPO.fullmatch(args.repo):
        raise UserError(f'--repo {args.repo}; expected OWNER/REPO')
    if args.check_images and not args.onnx:
        raise UserError('--check-images needs --onnx')

    from selnext_mm.publish.folder import CONFIG, WEIGHTS, publish

    folder = publish(args.work_dir, args.to, args.checkpoint, args.licence, args.repo)
    status = 0
    if args.onnx:
        from selnext_mm.cli import export

        words = [str(folder / CONFIG), str(folder / WEIGHTS)]
        words += ['--to', 'onnx', '--out', str(folder / 'model.onnx')]
        if args.check_images:
            words += ['--check-images', args.check_images]
        status = export.main(words)
    print(f'wrote {args.to}')
    for path in sorted(Path(folder).iterdir()):
        print(f'  {path.name:<25} {path.stat().st_size / 1e6:8.2f} MB')
    name = args.repo or 'OWNER/REPO'
    print(f'\nRead README.md before you give it away, then: hf upload {name} {args.to}')
    return status
