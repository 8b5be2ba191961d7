"""Makes the OpenAPI document of the HTTP interface from the compiled contract.

`python clients/python/generate_openapi.py DESCRIPTORS` reads a file that protoc has written with
`--include_source_info`, and writes `duebus/v1/openapi.json`. Comments of the proto become descriptions.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

OPENAPI = Path(__file__).parent / "duebus" / "v1" / "openapi.json"
OURS = "duebus/v1/"
FOR_TESTS = "duebus/v1/test_clock.proto"
WELL_KNOWN: dict[str, dict[str, Any]] = {
    ".google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["1.5s"]},
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
}
F = FieldDescriptorProto
SCALARS: dict[int, dict[str, Any]] = {
    F.TYPE_BOOL: {"type": "boolean"},
    F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    F.TYPE_DOUBLE: {"type": "number"},
    F.TYPE_INT32: {"type": "integer", "format": "int32"},
    F.TYPE_INT64: {"type": ["string", "integer"], "format": "int64"},
    F.TYPE_STRING: {"type": "string"},
    F.TYPE_UINT32: {"type": "integer", "minimum": 0},
    F.TYPE_UINT64: {"type": ["string", "integer"], "format": "uint64"},
}
ERROR = {"$ref": "#/components/responses/Error"}
# The numbers of fields in messages of descriptor.proto, of which the path of a comment is made.
MESSAGES, ENUMS, SERVICES = 4, 5, 6
FIELDS, NESTED, NESTED_ENUMS, METHODS = 2, 3, 4, 2


class Comments:
    """The comments of one file, by the path of what they are about."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._texts = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}

    def at(self, *path: int) -> dict[str, str]:
        """The description of what is at this path; empty without a comment."""
        text = re.sub(
            r"(?<!\n)\n(?!\n)", " ", "\n".join(line.strip() for line in self._texts.get(path, "").split("\n"))
        )
        return {"description": text.strip()} if text.strip() else {}


def document(files: FileDescriptorSet) -> dict[str, Any]:
    """The document of these files."""
    ours = [file for file in files.file if file.name.startswith(OURS) and file.name != FOR_TESTS]
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for file in ours:
        comments = Comments(file)
        for index, enum in enumerate(file.enum_type):
            schemas[f"{file.package}.{enum.name}"] = _enum(enum) | comments.at(ENUMS, index)
        for index, message in enumerate(file.message_type):
            schemas.update(_messages(f"{file.package}.{message.name}", message, comments, (MESSAGES, index)))
        for index, service in enumerate(file.service):
            for number, method in enumerate(service.method):
                if not method.server_streaming:
                    said = comments.at(SERVICES, index, METHODS, number)
                    path = f"/{file.package}.{service.name}/{method.name}"
                    paths[path] = {"post": _operation(service.name, method) | said}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "DueBus",
            "version": "v1",
            "summary": "An event bus over HTTP: dispatch events, now or for later, and administer them.",
        },
        "paths": paths | EXTRA_PATHS,
        "components": {
            "schemas": schemas | ERROR_SCHEMA,
            "responses": {"Error": ERROR_RESPONSE},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


def _messages(
    name: str, message: DescriptorProto, comments: Comments, path: tuple[int, ...]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas of a message and of what is declared in it, by name."""
    maps = {f".{name}.{nested.name}": nested.field[1] for nested in message.nested_type if nested.options.map_entry}
    properties = {
        field.json_name: _field(field, maps) | comments.at(*path, FIELDS, index)
        for index, field in enumerate(message.field)
    }
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    yield name, schema | comments.at(*path)
    for index, enum in enumerate(message.enum_type):
        yield f"{name}.{enum.name}", _enum(enum) | comments.at(*path, NESTED_ENUMS, index)
    for index, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from _messages(f"{name}.{nested.name}", nested, comments, (*path, NESTED, index))


def _field(field: FieldDescriptorProto, maps: dict[str, FieldDescriptorProto]) -> dict[str, Any]:
    if field.type_name in maps:
        return {"type": "object", "additionalProperties": _type(maps[field.type_name])}
    if field.label == F.LABEL_REPEATED:
        return {"type": "array", "items": _type(field)}
    return _type(field)


def _type(field: FieldDescriptorProto) -> dict[str, Any]:
    if field.type in SCALARS:
        return SCALARS[field.type]
    return WELL_KNOWN.get(field.type_name) or {"$ref": f"#/components/schemas/{field.type_name.removeprefix('.')}"}


def _enum(enum: EnumDescriptorProto) -> dict[str, Any]:
    return {"type": "string", "enum": [value.name for value in enum.value]}


def _operation(service: str, method: MethodDescriptorProto) -> dict[str, Any]:
    return {
        "operationId": f"{service}.{method.name}",
        "tags": [service],
        "requestBody": {"required": True, "content": _json(method.input_type)},
        "responses": {"200": {"description": "The answer.", "content": _json(method.output_type)}, "default": ERROR},
    }


def _json(type_name: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{type_name.removeprefix('.')}"}}}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _in_query(name: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema or {"type": "string"}}


def _in_path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


EXTRA_PATHS = {
    "/v1/topics/{topic}/events": {
        "post": {
            "operationId": "dispatchEvent",
            "tags": ["EventBus"],
            "description": "Dispatches an event whose payload is the body, or CloudEvents. "
            "`Duebus-Attribute-NAME` sets the attribute NAME.",
            "parameters": [
                _in_path("topic"),
                _header("Duebus-Delay", "How long to wait, such as `500ms`, `30m` or `1h30m`."),
                _header("Duebus-Deliver-At", "When it is due, such as `2030-01-01T00:00:00Z`."),
                _header("Duebus-Id", "The event's id."),
                _header("Duebus-Key", "The key: events of one key are delivered in order."),
                _header("Duebus-Priority", "The priority: a head start in seconds."),
                _header("Idempotency-Key", "The request id: a repeated request returns the first answer."),
            ],
            "requestBody": {"content": {"*/*": {}}},
            "responses": {
                "202": {"description": "The event is stored.", "content": _json("duebus.v1.DispatchResponse")},
                "default": ERROR,
            },
        }
    },
    "/v1/topics/{topic}/groups/{group}:pull": {
        "post": {
            "operationId": "pullEvents",
            "tags": ["EventBus"],
            "description": "Leases due events to the caller. Ack, Nack and Extend settle them by their lease tokens.",
            "parameters": [
                _in_path("topic"),
                _in_path("group"),
                _in_query("max", "How many events at most.", {"type": "integer", "minimum": 1, "maximum": 500}),
                _in_query("wait", "How long to wait for the first of them, at most `30s`."),
                _in_query("lease", "How long they are leased, such as `30s`; by default as the topic says."),
                _in_query("consumer", "What the caller is called in the event's history."),
            ],
            "responses": {
                "200": {"description": "The events.", "content": _json("duebus.v1.Deliveries")},
                "default": ERROR,
            },
        }
    },
}
ERROR_SCHEMA = {
    "Error": {
        "type": "object",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "string", "description": "The gRPC code in lower case, such as `not_found`."},
            "message": {"type": "string"},
            "details": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["type", "value"],
                    "properties": {
                        "type": {"type": "string", "description": "Such as `google.rpc.ErrorInfo`."},
                        "value": {"type": "string", "contentEncoding": "base64"},
                        "debug": {"type": "object", "description": "The same as JSON."},
                    },
                },
            },
        },
    }
}
ERROR_RESPONSE = {
    "description": "The call failed. `ErrorInfo` in the details has the reason.",
    "headers": {
        "Retry-After": {"description": "How many seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
    },
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}


def main(descriptors: str) -> None:
    """Writes the document."""
    found = document(FileDescriptorSet.FromString(Path(descriptors).read_bytes()))
    OPENAPI.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
