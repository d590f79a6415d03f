"""``selnext-mm serve MODEL``: an exported model over HTTP, without PyTorch."""

import argparse
import ipaddress
import os
import socket
from importlib.util import find_spec

from selnext_mm.cli.parser import Parser
from selnext_mm.errors import UserError
from selnext_mm.serve.limits import Limits

TOKEN = 'SELNEXT_MM_TOKEN'
PACKAGES = {'fastapi': 'fastapi', 'uvicorn': 'uvicorn', 'prometheus_client': 'prometheus-client'}
EPILOG = f"""examples:
  selnext-mm serve detector.onnx                       then open http://127.0.0.1:8000
  curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' http://127.0.0.1:8000/predict
  {TOKEN}=secret selnext-mm serve detector.onnx --host 0.0.0.0

Other machines reach the server only with --host, and then a token is needed: the environment
variable {TOKEN}, which clients send as "Authorization: Bearer TOKEN". Put a proxy with TLS before
it.
"""


def build_parser() -> argparse.ArgumentParser:
    result = Parser(
        prog='selnext-mm serve',
        description='Serve an exported detector or classifier over HTTP, with a page to try it.',
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument('model', metavar='MODEL', help='.onnx, or .xml of OpenVINO')
    result.add_argument('--host', default='127.0.0.1', help='address to listen on (%(default)s)')
    result.add_argument('--port', type=int, default=8000, help='(%(default)s); 0 takes a free one')
    result.add_argument('--threads', type=int, help="(as many as the machine's cores)")
    result.add_argument('--top-k', type=int, default=5, help='classes per image (%(default)s)')
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
        '--no-token', action='store_true', help='let everybody in who reaches --host'
    )
    return result


def is_loopback(host: str) -> bool:
    """Whether ``host`` is reached from this machine alone."""
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
    """A bound socket. Raises :class:`UserError` for an address that cannot be had."""
    if not 0 <= port < 65536:
        raise UserError(f'--port {port}; expected 0 to 65535')
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        result = socket.socket(family, kind, protocol)
        result.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        result.bind(address)
        result.listen()  # who comes before the server is ready waits
    except OSError as error:
        raise UserError(
            f'--host {host} --port {port}: {error.strerror or error}; choose another one'
        ) from error
    return result


def main(argv: list[str] | None = None) -> int:
    args = build_parser().parse_args(argv)
    limits, token = read_limits(args), read_token(args)
    for name in ('threads', 'top_k'):
        if (value := getattr(args, name)) is not None and value < 1:
            raise UserError(f'--{name.replace("_", "-")} {value}; expected 1 or more')
    if missing := [name for module, name in PACKAGES.items() if find_spec(module) is None]:
        raise UserError(f"serve needs {', '.join(missing)}: pip install 'selnext_mm[serve]'")

    import uvicorn

    from selnext_mm.runtime.models import open_model
    from selnext_mm.serve.app import create_app

    model = open_model(args.model, threads=args.threads, top_k=args.top_k)
    app = create_app(model, limits, token)
    with listen(args.host, args.port) as bound:
        host, port = bound.getsockname()[:2]
        shown = f'[{host}]' if ':' in host else host
        access = f'with the token of {TOKEN}' if token else 'without a token'
        print(
            f'{model.part} {args.model} by {model.session.name}, {len(model.classes)} classes\n'
            f'http://{shown}:{port} {access}; Ctrl-C stops it',
            flush=True,
        )
        config = uvicorn.Config(
            app,
            log_level='warning',
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=max(1, round(limits.seconds)),
        )
        uvicorn.Server(config).run(sockets=[bound])
    return 0
