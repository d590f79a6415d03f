"""``selnext-mm serve``: a model over HTTP, an exported one without PyTorch."""

import argparse
import contextlib
import ipaddress
import os
import socket
from importlib.util import find_spec
from pathlib import Path

from selnext_mm.cli.parser import Parser
from selnext_mm.cli.predict import TOP_K, TOP_K_HELP, refuse_unused
from selnext_mm.cli.predict_file import refuse_checkpoint_options
from selnext_mm.errors import UserError
from selnext_mm.serve.limits import Limits
from selnext_mm.serve.model import ServedModel
from selnext_mm.text import counted

TOKEN = 'SELNEXT_MM_TOKEN'
PACKAGES = {'fastapi': 'fastapi', 'uvicorn': 'uvicorn', 'prometheus_client': 'prometheus-client'}
EPILOG = f"""examples:
  selnext-mm serve detector.onnx                       then open http://127.0.0.1:8000
  selnext-mm serve my_config.py epoch_36.pth --device cuda:0          (by PyTorch)
  selnext-mm serve published/                          (a folder of selnext-mm publish)
  curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/predict
  {TOKEN}=secret selnext-mm serve detector.onnx --host 0.0.0.0

Other machines reach the server only with --host, and then a token is needed: the environment
variable {TOKEN}, which clients send as "Authorization: Bearer TOKEN". Put a proxy with TLS before
it.
"""


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm serve',
        description='Serve a detector or classifier over HTTP, with a page to try it.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        intermixed=True,
    )
    result.add_argument(
        'model',
        metavar='MODEL',
        help='.onnx, or .xml of OpenVINO; or the config of CHECKPOINT, or a published folder',
    )
    result.add_argument(
        'checkpoint',
        nargs='?',
        metavar='CHECKPOINT',
        help='.pth or .safetensors, for PyTorch; a published folder holds its own',
    )
    result.add_argument('--device', help='of a checkpoint: auto, cpu, cuda, cuda:1 (auto)')
    result.add_argument(
        '--classes', nargs='+', metavar='NAME', help='of a checkpoint: class names (its own)'
    )
    result.add_argument(
        '--dtype',
        choices=('float32', 'bfloat16'),
        help="of a checkpoint: of the backbone's products (the dtype of the weights)",
    )
    result.add_argument('--host', default='127.0.0.1', help='address to listen on (%(default)s)')
    result.add_argument('--port', type=int, default=8000, help='(%(default)s); 0 takes a free one')
    result.add_argument('--threads', type=int, help="(as many as the machine's cores)")
    result.add_argument('--top-k', type=int, help=TOP_K_HELP)
    result.add_argument(
        '--max-mb', type=float, default=16, help='largest body in MB, else 413 (%(default)s)'
    )
    result.add_argument(
        '--max-megapixels', type=float, default=50, help='largest image, else 413 (%(default)s)'
    )
    result.add_argument(
        '--timeout', type=float, default=30, help='seconds for an answer, else 503 (%(default)s)'
    )
    result.add_argument(
        '--queue', type=int, default=64, help='requests that may wait, else 503 (%(default)s)'
    )
    result.add_argument(
        '--per-client', type=int, default=32, help='the same per address, else 429 (%(default)s)'
    )
    result.add_argument('--batch-size', type=int, default=8, help='(%(default)s)')
    result.add_argument(
        '--no-token', action='store_true', help='accept anyone who can reach --host'
    )
    return result


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def read_limits(args: argparse.Namespace) -> Limits:
    for name in ('max_mb', 'max_megapixels', 'timeout', 'queue', 'per_client', 'batch_size'):
        value = getattr(args, name)
        if not 0 < value < float('inf'):
            raise UserError(f'--{name.replace("_", "-")} {value:g}; expected a number above 0')
    return Limits(
        max_bytes=max(1, round(args.max_mb * 1e6)),
        max_pixels=max(1, round(args.max_megapixels * 1e6)),
        seconds=args.timeout,
        queue=args.queue,
        per_client=args.per_client,
        batch=args.batch_size,
    )


def read_token(args: argparse.Namespace) -> str:
    token = os.environ.get(TOKEN, '')
    if not token and not args.no_token and not is_loopback(args.host):
        raise UserError(
            f'--host {args.host} lets other machines in: set the environment variable {TOKEN}, '
            'which they then have to send, or give --no-token'
        )
    return token


def listen(host: str, port: int) -> socket.socket:
    """A bound socket. Raises :class:`UserError` for an address that cannot be bound."""
    if not 0 <= port < 65536:
        raise UserError(f'--port {port}; expected 0 to 65535')
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        result = socket.socket(family, kind, protocol)
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        result.bind(address)
        result.listen()  # clients that connect before the server is ready wait
    except OSError as error:
        raise UserError(
            f'--host {host} --port {port}: {error.strerror or error}; choose another one'
        ) from error
    return result


def open_file(args: argparse.Namespace) -> ServedModel:
    """The exported file that MODEL names."""
    from selnext_mm.runtime.models import open_model

    if args.checkpoint and Path(args.model).is_file():
        raise UserError(
            f'{args.model} holds config and weights, and {args.checkpoint} would be left unused; '
            'give one of them'
        )
    refuse_checkpoint_options(args)
    return open_model(args.model, threads=args.threads, top_k=args.top_k or TOP_K)


def open_checkpoint(args: argparse.Namespace) -> ServedModel:
    """The checkpoint that MODEL and CHECKPOINT name, in PyTorch."""
    from selnext_mm.checkpoints.hub import CHECKPOINTS, holds_model
    from selnext_mm.config_files import find_config
    from selnext_mm.runtime.sessions import NEEDS_TORCH, SUFFIXES

    files = ' or '.join(SUFFIXES)
    if find_spec('torch') is None:
        raise UserError(
            f'{args.model}: {NEEDS_TORCH}; "selnext-mm export" writes files that do not ({files})'
        )
    if (args.checkpoint or '').endswith(SUFFIXES):
        raise UserError(f'{args.checkpoint} needs no config: selnext-mm serve {args.checkpoint}')
    if Path(args.model).suffix in CHECKPOINTS:
        raise UserError(
            f'{args.model} is a checkpoint; give its config first: selnext-mm serve CONFIG '
            f'{args.model} (a copy of the config lies beside every checkpoint)'
        )
    if args.checkpoint is None and not holds_model(args.model):
        find_config(args.model)  # raises if there is no config of that name
        raise UserError(
            f'{args.model} alone is no model; give CONFIG and CHECKPOINT, a folder of '
            f'"selnext-mm publish", or a file of "selnext-mm export" ({files})'
        )
    from selnext_mm import register_modules
    from selnext_mm.config.build import quiet
    from selnext_mm.inference import ServedPredictor

    register_modules()
    with quiet():
        return ServedPredictor(
            args.model,
            args.checkpoint or args.model,
            threads=args.threads,
            device=args.device or 'auto',
            classes=args.classes,
            top_k=args.top_k or TOP_K,
            dtype=args.dtype,
        )


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    limits, token = read_limits(args), read_token(args)
    for name in ('threads', 'top_k'):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f'--{name.replace("_", "-")} {value}; expected 1 or more')
    if missing := [name for module, name in PACKAGES.items() if find_spec(module) is None]:
        raise UserError(f"serve needs {', '.join(missing)}: pip install 'selnext_mm[serve]'")

    import uvicorn

    from selnext_mm.process import share_arenas
    from selnext_mm.runtime.sessions import SUFFIXES
    from selnext_mm.serve.app import create_app
    from selnext_mm.serve.connections import BACKLOG, limited_protocol

    class Server(uvicorn.Server):
        """Ends at once at the second signal; uvicorn would cancel requests with tracebacks."""

        def handle_exit(self, sig, frame) -> None:
            if self.should_exit:
                os._exit(128 + sig)
            super().handle_exit(sig, frame)

    share_arenas()
    model = open_file(args) if args.model.endswith(SUFFIXES) else open_checkpoint(args)
    refuse_unused(model.part == 'classifier', None, args.top_k)
    app = create_app(model, limits, token)
    with listen(args.host, args.port) as bound:
        host, port = bound.getsockname()[:2]
        shown = f'[{host}]' if ':' in host else host
        access = f'with the token of {TOKEN}' if token else 'without a token'
        print(
            f'{model.part} {args.checkpoint or args.model} by {model.runtime}, '
            f'{counted(len(model.classes), "class")}\n'
            f'http://{shown}:{port} {access}; Ctrl-C stops it',
            flush=True,
        )
        config = uvicorn.Config(
            app,
            http=limited_protocol(limits),
            backlog=BACKLOG,
            log_level='warning',
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=max(1, round(limits.seconds)),
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when it has stopped
            Server(config).run(sockets=[bound])
    return 0
