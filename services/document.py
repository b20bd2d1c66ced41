"""The OpenAPI document of the service: every endpoint with every answer it may give.

BentoML's own leaves out that a value may be null, and the answers of what stands before it. This one is made
from the same pydantic models, so an endpoint that is added is in it.
"""

import tomllib
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field

from feature_repo import places

REFERENCE = "#/components/schemas/{model}"


class ErrorDetail(BaseModel):
    """A field that is wrong."""

    type: str
    loc: list[str | int] = Field(description="Where it is in the body.")
    msg: str


class Error(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="One sentence.", examples=["k: Input should be less than 100."])
    field: str | None = Field(default=None, description="The first field that is wrong.")
    detail: list[ErrorDetail] | None = Field(default=None, description="All that are.")
    request_id: str = Field(description="What the service's log has it under.")


ERRORS = {
    400: "The body cannot be read, or a field is wrong.",
    401: "The token is missing, or another.",
    404: "There is nothing here.",
    405: "The path takes another method.",
    408: "The request did not arrive whole in time.",
    413: "The body is too large.",
    415: "The body is of another media type.",
    429: "Too many requests; the header Retry-After says when to ask again.",
    500: "Something went wrong here.",
    503: "This cannot be answered now.",
    504: "The answer took too long.",
}
"""What each says; 401 is for paths that want the token, or have a field that does."""

PROBES = {
    "/livez": "Whether the process is alive.",
    "/readyz": "Whether the process takes requests.",
    "/health": "Whether a release is loaded and features can be read.",
    "/metrics": "Metrics of all processes, for Prometheus.",
}


def document(service: Any, wants_token: Callable[[str], bool]) -> dict[str, Any]:
    """The document of a BentoML service, as OpenAPI 3.1.

    Args:
        wants_token: of a path.
    """
    components: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for name, api in sorted(service.apis.items()):
        asked = api.input_spec.mime_type()
        body = _schema(api.input_spec, "validation", components)
        operation = {
            "operationId": name,
            "summary": (api.doc or name).strip().partition("\n")[0],
            "description": _unindented(api.doc or ""),
            "requestBody": {
                "required": bool(body.get("required")),
                "content": {asked: {"schema": body}},
            },
            "responses": {
                "200": {
                    "description": "The answer.",
                    "headers": {"X-Request-ID": {"schema": {"type": "string"}}},
                    "content": {
                        api.output_spec.mime_type(): {
                            "schema": _schema(api.output_spec, "serialization", components)
                        }
                    },
                },
                **_errors(wants_token(api.route) or "variants" in api.input_spec.model_fields),
            },
        }
        if wants_token(api.route):
            operation["security"] = [{"token": []}]
        elif "variants" in api.input_spec.model_fields:
            # To choose variants by hand wants it too.
            operation["security"] = [{}, {"token": []}]
        paths[api.route] = {"post": operation}
    for path, said in PROBES.items():
        paths[path] = {
            "get": {
                "operationId": path.strip("/"),
                "summary": said,
                "responses": {"200": {"description": "It is so."}, **_errors(token=True)},
            }
        }
    _schema(Error, "serialization", components, into="Error")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": service.name,
            "description": service.inner.__doc__ or service.name,
            "version": _version(),
        },
        "servers": [{"url": "."}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _version() -> str:
    # Of the folder: in a bento nothing is installed.
    told = tomllib.loads((places.PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(told["project"]["version"])


def _errors(token: bool) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": REFERENCE.format(model="Error")}}}
    return {
        str(status): {"description": said, "content": content}
        for status, said in ERRORS.items()
        if status != 401 or token
    }


def _schema(
    model: type[BaseModel], mode: Any, components: dict[str, Any], into: str = ""
) -> dict[str, Any]:
    """A model's JSON schema; what it refers to goes to the components, and itself if it has a name there."""
    schema = _files(model.model_json_schema(mode=mode, ref_template=REFERENCE))
    components |= schema.pop("$defs", {})
    if not into:
        return schema
    components[into] = schema
    return {"$ref": REFERENCE.format(model=into)}


def _files(schema: Any) -> Any:
    """BentoML's type "file" is none of JSON's: in a form it is the bytes themselves."""
    if isinstance(schema, list):
        return [_files(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _files(value) for name, value in schema.items()}
    if found.get("type") == "file":
        return {
            **{name: value for name, value in found.items() if name in ("title", "description")},
            "type": "string",
            "contentMediaType": found.get("content_type", "application/octet-stream"),
        }
    return found


def _unindented(text: str) -> str:
    return "\n".join(line.strip() for line in text.strip().splitlines())
