"""The server: each request takes a slot, sends a body within limits, and runs in a batch."""

import contextlib
import io
import json
import secrets
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from PIL import Image
from starlette.requests import ClientDisconnect

from selnext_mm import __version__
from selnext_mm.errors import UserError
from selnext_mm.inference.images import UnpreparedError
from selnext_mm.inference.output import SCORE_THR, annotate
from selnext_mm.inference.thresholds import Thresholds, shown
from selnext_mm.serve.answers import About, Health, Prediction, Problem
from selnext_mm.serve.batches import Batches
from selnext_mm.serve.decoding import FORMATS, check_type, decode
from selnext_mm.serve.limits import Limits, RefusedError
from selnext_mm.serve.metrics import Metrics
from selnext_mm.serve.model import ServedModel
from selnext_mm.serve.parameters import lowest_score
from selnext_mm.serve.places import Places

PAGE = {
    '/': ('page.html', 'text/html; charset=utf-8'),
    '/page.css': ('page.css', 'text/css; charset=utf-8'),
    '/page.js': ('page.js', 'text/javascript; charset=utf-8'),
}
HEADERS = {
    'Content-Security-Policy': "default-src 'self'; img-src 'self' blob: data:; "
    "frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
}
BINARY = {'schema': {'type': 'string', 'format': 'binary'}}
BODY = {
    'requestBody': {
        'required': True,
        'content': dict.fromkeys((*FORMATS.values(), 'application/octet-stream'), BINARY),
    }
}
REASONS = {
    401: 'no token, or a wrong one',
    408: 'the body did not arrive in time',
    413: 'too many bytes or pixels',
    415: 'not an image of a supported format',
    422: 'incomplete or too narrow image, or a parameter that is unknown or out of range',
    429: 'too many requests from this address',
    503: 'too many requests, or no answer in time',
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: dict(model=Problem, description=text) for status, text in REASONS.items()
}


class Server:
    """A model with its limits. ``detect`` handles a request from its first byte to its answer."""

    def __init__(self, model: ServedModel, limits: Limits) -> None:
        self.model, self.limits = model, limits
        self.finds_objects = model.part == 'detector'
        self.lowest: Thresholds = model.thresholds or SCORE_THR
        self.metrics, self.places = Metrics(), Places(limits)
        self.metrics.in_flight.set_function(lambda: self.places.taken)
        self.batches: Batches | None = None
        self.decoders: CapacityLimiter | None = None
        numbers = model.metadata.get('category_ids')
        self.ids = json.loads(numbers) if numbers else list(range(1, len(model.classes) + 1))

    @contextlib.asynccontextmanager
    async def open(self, app: FastAPI) -> AsyncIterator[None]:
        self.decoders = CapacityLimiter(self.limits.decoders)
        self.batches = Batches(self.model, self.limits.batch, self.metrics.batch.observe)
        yield
        await to_thread.run_sync(self.batches.close)

    async def body(self, request: Request) -> bytes:
        """The body of a request, never more than ``max_bytes`` of it.

        Raises:
            RefusedError: 408, 413 or 415; 499, only for the metrics, if the client disconnected.
        """
        check_type(request.headers.get('content-type'), request.headers.get('content-encoding'))
        too_large = RefusedError(413, f'the body has more than {self.limits.max_bytes} bytes')
        said = request.headers.get('content-length', '')
        if said.isdecimal() and int(said) > self.limits.max_bytes:
            raise too_large
        parts, size = [], 0
        try:
            with anyio.fail_after(self.limits.seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > self.limits.max_bytes:
                        raise too_large
                    parts.append(part)
        except TimeoutError as error:
            raise RefusedError(
                408, f'the body took more than {self.limits.seconds:g} s to arrive'
            ) from error
        except ClientDisconnect as error:
            raise RefusedError(499, 'the client left before the body was complete') from error
        return b''.join(parts)

    def _prepare(self, body: bytes) -> tuple[Any, tuple[int, int]]:
        pixels = decode(body, self.limits)
        try:
            return self.model.prepare(pixels), pixels.shape[:2]
        except UnpreparedError as error:
            raise RefusedError(422, str(error)) from error

    async def detect(self, request: Request, score_thr: float | None, drawn: bool) -> dict | bytes:
        """The results for the image of ``request``; if ``drawn``, the image with them, as JPEG."""
        assert self.batches is not None
        lowest: Thresholds = score_thr if score_thr is not None else self.lowest
        client = request.client.host if request.client else ''
        with self.places.place(client):
            body = await self.body(request)
            try:
                with anyio.fail_after(self.limits.seconds):
                    # Only the model's input waits in the queue, not the full-size image.
                    prepared, size = await to_thread.run_sync(
                        self._prepare, body, limiter=self.decoders
                    )
                    found = await self.batches.find(prepared, size)
                    key = self.model.key
                    if self.finds_objects:
                        found = shown(found, lowest)
                    if not drawn:
                        return self._answer(size, found)
                    return await to_thread.run_sync(
                        self._draw, body, {key: found}, lowest, limiter=self.decoders
                    )
            except TimeoutError as error:
                raise RefusedError(503, f'no answer within {self.limits.seconds:g} s', 5) from error

    def _answer(self, size: tuple[int, int], found: list[dict]) -> dict:
        image = dict(width=size[1], height=size[0])
        if not self.finds_objects:
            return dict(image=image, classes=found)
        annotations = [
            dict(id=i, category_id=self.ids[item['label']], **item)
            for i, item in enumerate(found, 1)
        ]
        return dict(image=image, annotations=annotations)

    def _draw(self, body: bytes, record: dict, lowest: Thresholds) -> bytes:
        pixels = decode(body, self.limits)
        picture = annotate(pixels, record, self.model.classes, lowest)
        file = io.BytesIO()
        Image.fromarray(picture).save(file, 'JPEG', quality=92)
        return file.getvalue()

    def about(self) -> About:
        meta = self.model.metadata
        threshold = meta.get('score_threshold')
        return About(
            name=self.model.path.name,
            kind=self.model.part,
            runtime=self.model.runtime,
            classes=list(self.model.classes),
            category_ids=self.ids if self.finds_objects else None,
            score_threshold=float(threshold) if threshold else None,
            class_thresholds=list(self.model.thresholds) if self.model.thresholds else None,
            checkpoint_sha256=meta.get('checkpoint_sha256'),
            max_bytes=self.limits.max_bytes,
            max_pixels=self.limits.max_pixels,
        )


def _problem(status: int, text: str, retry: int | None = None) -> JSONResponse:
    headers = {'Retry-After': str(retry)} if retry else {}
    if status == 401:
        headers['WWW-Authenticate'] = 'Bearer'
    return JSONResponse({'detail': text}, status, headers)


def create_app(model: ServedModel, limits: Limits | None = None, token: str = '') -> FastAPI:
    """An ASGI application that serves ``model``.

    ``POST /predict`` takes an image and returns JSON, ``POST /picture`` an annotated JPEG. There
    are ``GET /model``, ``/metrics``, ``/health``, ``/openapi.json``, and a page at ``/``.

    Args:
        model: of :func:`selnext_mm.runtime.open_model`, or a
            :class:`selnext_mm.inference.ServedPredictor`.
        limits: :class:`~selnext_mm.serve.limits.Limits`.
        token: if it is not empty, all but the page, ``/health`` and ``/openapi.json`` need the
            header ``Authorization: Bearer TOKEN``.

    Raises:
        UserError: for a token that cannot be sent in a header.
    """
    if not (token.isascii() and token.isprintable()) or token != token.strip():
        raise UserError(
            'the token has to be ASCII that can be sent in one line of a header, without spaces '
            'around it'
        )
    server = Server(model, limits or Limits())
    app = FastAPI(
        title='selnext_mm',
        version=__version__,
        summary=f'The {model.part} {model.path.name} over HTTP',
        lifespan=server.open,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        redirect_slashes=False,  # many clients mistake the empty redirect for an answer
    )
    app.state.server = server

    def known(request: Request) -> None:
        """Refuse (401) a request without the right token."""
        kind, _, given = request.headers.get('authorization', '').partition(' ')
        same = secrets.compare_digest(given.strip().encode(), token.encode())
        if token and not (same and kind.lower() == 'bearer'):
            raise RefusedError(401, 'send the header "Authorization: Bearer TOKEN"')

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return _problem(error.status, error.reason, error.retry)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        return _problem(422, f'{".".join(map(str, first["loc"]))}: {first["msg"]}')

    @app.middleware('http')
    async def counted(request: Request, call_next) -> Response:
        start = time.perf_counter()
        response = await call_next(request)
        route = request.scope.get('route')
        path = getattr(route, 'path', 'other')  # a fixed set, not arbitrary paths of requests
        server.metrics.requests.labels(path, str(response.status_code)).inc()
        server.metrics.seconds.labels(path).observe(time.perf_counter() - start)
        response.headers.update(HEADERS)
        return response

    guarded = [Depends(known)]
    lowest = Depends(lowest_score(server.finds_objects))

    @app.post(
        '/predict',
        response_model=Prediction,
        response_model_exclude_none=True,
        responses=REFUSALS,
        dependencies=guarded,
        openapi_extra=BODY,
    )
    async def predict(request: Request, score_thr: float | None = lowest):
        """Find what is in the image that is sent as the body."""
        return JSONResponse(await server.detect(request, score_thr, False))

    @app.post(
        '/picture',
        response_class=Response,
        responses={**REFUSALS, 200: {'content': {'image/jpeg': BINARY}}},
        dependencies=guarded,
        openapi_extra=BODY,
    )
    async def picture(request: Request, score_thr: float | None = lowest):
        """Find what is in the image and draw it; the answer is a JPEG."""
        return Response(await server.detect(request, score_thr, True), media_type='image/jpeg')

    @app.get('/model', responses={401: REFUSALS[401]}, dependencies=guarded)
    async def about() -> About:
        """The model that is served, and its classes."""
        return server.about()

    @app.get('/health')
    async def health() -> Health:
        """Whether the server accepts images."""
        return Health(status='ok', waiting=server.places.taken)

    @app.get(
        '/metrics',
        response_class=Response,
        responses={401: REFUSALS[401], 200: {'content': {'text/plain': {}}}},
        dependencies=guarded,
    )
    async def metrics():
        """Counters in the text format of Prometheus."""
        return Response(server.metrics.text(), media_type='text/plain; version=0.0.4')

    # Monitors and proxies use HEAD.
    head: dict[str, Any] = dict(methods=['HEAD'], include_in_schema=False)
    app.add_api_route('/health', health, **head)
    app.add_api_route('/model', about, dependencies=guarded, **head)
    app.add_api_route('/metrics', metrics, dependencies=guarded, **head)
    for path, (name, kind) in PAGE.items():
        content = files('selnext_mm.serve').joinpath(name).read_text('utf-8')
        app.add_api_route(
            path,
            _static(content, kind),
            methods=['GET', 'HEAD'],
            include_in_schema=False,
            name=name,
        )
    return app


def _static(content: str, kind: str):
    async def page() -> Response:
        return Response(content, media_type=kind)

    return page
