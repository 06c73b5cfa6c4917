"""The HTTP application: routes, error messages as sentences, and API documentation that needs no network."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from models_py import __version__
from models_py.errors import DuckspectError, RegistryError, WarehouseError
from udfs.serving import schemas as forms
from udfs.serving.bodies import RequestError, sentence
from udfs.serving.current_models import UnavailableModelError
from udfs.serving.inference_protocol import protocol
from udfs.serving.inspection_service import UnusableImageError
from udfs.serving.request_gate import App, RequestGate, RequestLimits
from udfs.serving.routes import ServerParts, routes
from udfs.serving.tokens import TokenFile

_STATUS = {UnusableImageError: 422, RegistryError: 404, UnavailableModelError: 503, WarehouseError: 503}
_OPEN_PATHS = ("/healthz", "/readyz", "/v2", "/v2/health/live", "/v2/health/ready")


def application(service: ServerParts, token_file: TokenFile, limits: RequestLimits) -> App:
    """The FastAPI application, wrapped in the request gate."""
    app = FastAPIOffline(
        title="duckspect",
        version=__version__,
        summary="Verdicts on images by the models of a warehouse; every verdict is a row of it.",
    )
    app.include_router(routes(service))
    app.include_router(protocol(service))
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(DuckspectError, _on_mistake)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return RequestGate(app, token_file, limits, service.meters)


def _problem(request: Request, status: int, reason: str, headers: Any = None) -> JSONResponse:
    content = {"error": reason, "request_id": request.scope["state"]["request_id"]}
    return JSONResponse(content, status, headers)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what the handler is registered for
    return _problem(request, error.status_code, f"{error.detail.rstrip('.')}.", error.headers)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what the handler is registered for
    return _problem(request, 422, sentence(error.errors()))


async def _on_mistake(request: Request, error: Exception) -> JSONResponse:
    if isinstance(error, RequestError):
        return _problem(request, error.status, str(error))
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 500)
    return _problem(request, status, str(error))


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, completed by the request body, which it does not see, and the authentication."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        parts = document.setdefault("components", {})
        schemas = parts.setdefault("schemas", {})
        schemas["Request"] = forms.PredictRequest.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        parts["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        }
        for path, methods in document["paths"].items():
            for operation in methods.values():
                if path not in _OPEN_PATHS:
                    operation["security"] = [{"token": []}, {"key": []}]
                if operation["responses"].get("422", {}).get("description") == "Validation Error":
                    operation["responses"]["422"] = {
                        "description": "A parameter cannot be used",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
                    }
        app.openapi_schema = document
    return app.openapi_schema
