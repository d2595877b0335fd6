# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of PVE's parameter checking that a client can see: types, ranges, enumerations, property strings.

A schema is a dictionary of Prop. Values arrive as text (forms) or as what JSON allows; errors go into a dictionary
under the parameter's name, with PVE's words.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)

NOT_DEFINED = "property is not defined in schema and the schema does not allow additional properties"
MISSING = "property is missing and it is not optional"

Errors = dict[str, str]


class FormatError(Exception):
    """A value that is not of its format; the text is PVE's, without the newline at its end."""


@dataclasses.dataclass(frozen=True)
class Prop:
    """One property of a schema.

    `format` is a function that raises FormatError, or a dictionary of Prop: then the value is a property string
    (`key=value,...`). `default_key` marks the property of such a string that may be written without its key.
    """

    type: str = "string"
    minimum: t.Optional[float] = None
    maximum: t.Optional[float] = None
    enum: t.Sequence[str] = ()
    format: t.Union[t.Callable[[str], None], dict[str, Prop], None] = None
    pattern: t.Optional[str] = None
    max_length: t.Optional[int] = None
    optional: bool = True
    default_key: bool = False


BOOLEAN = Prop("boolean")
STRING = Prop()
INTEGER = Prop("integer")


def required(prop: Prop) -> Prop:
    """The same property, but it must be given."""
    return dataclasses.replace(prop, optional=False)


def check_parameters(schema: t.Mapping[str, Prop], params: t.Mapping[str, t.Any], prefix: str = "") -> Errors:
    """The errors of a whole set of parameters; empty when all is well. `prefix` is the path of a property string."""
    errors: Errors = {}
    for name in schema:
        check_value(schema[name], params.get(name), prefix + name, errors)
    for name in params:
        if name not in schema:
            errors[prefix + name] = NOT_DEFINED
    return errors


def check_value(prop: Prop, value: t.Any, path: str, errors: Errors) -> None:
    """Check one value (None: not given) and note what is wrong with it under `path`."""
    if value is None:
        if not prop.optional:
            errors[path] = MISSING
        return
    message = _type_error(prop.type, value) or _text_error(prop, str(value), path)
    if message:
        errors[path] = message


def _type_error(kind: str, value: t.Any) -> t.Optional[str]:
    if isinstance(value, bool):
        return f"type check ('{kind}') failed - got JSON::PP::Boolean"
    if isinstance(value, (list, dict)):
        return f"type check ('{kind}') failed - got {'ARRAY' if isinstance(value, list) else 'HASH'}"
    text = str(value)
    fits = {
        "boolean": lambda: text in ("0", "1"),
        "integer": lambda: bool(_INTEGER.fullmatch(text)),
        "number": lambda: bool(_NUMBER.fullmatch(text)),
    }.get(kind, lambda: True)()
    return None if fits else f"type check ('{kind}') failed - got '{text}'"


def _text_error(prop: Prop, text: str, path: str) -> t.Optional[str]:
    if isinstance(prop.format, dict):
        try:
            parse_property_string(prop.format, text, path)
        except FormatError as error:
            return f"invalid format - {error}\n"
    elif prop.format is not None:
        try:
            prop.format(text)
        except FormatError as error:
            return f"invalid format - {error}\n"
    if prop.pattern is not None and not re.fullmatch(prop.pattern, text, re.ASCII):
        return "value does not match the regex pattern"
    if prop.max_length is not None and len(text) > prop.max_length:
        return f"value may only be {prop.max_length} characters long"
    if _NUMBER.fullmatch(text):
        if prop.maximum is not None and float(text) > prop.maximum:
            return f"value must have a maximum value of {int(prop.maximum)}"
        if prop.minimum is not None and float(text) < prop.minimum:
            return f"value must have a minimum value of {int(prop.minimum)}"
    if prop.enum and text not in prop.enum:
        return f"value '{text}' does not have a value in the enumeration '{', '.join(prop.enum)}'"
    return None


def split_property_string(schema: t.Mapping[str, Prop], text: str) -> dict[str, str]:
    """The keys and values of a property string, unchecked; FormatError where it cannot be taken apart."""
    values: dict[str, str] = {}
    default_keys = [name for name, prop in schema.items() if prop.default_key]
    for part in text.split(","):
        if not part.strip():
            continue
        key, equals, value = part.partition("=")
        if equals and key and value:
            if key in values:
                raise FormatError(f"duplicate key in comma-separated list property: {key}")
        elif equals:
            raise FormatError("missing key in comma-separated list property")
        elif not default_keys:
            raise FormatError("value without key, but schema does not define a default key")
        else:
            key, value = default_keys[0], part
            if key in values:
                raise FormatError(f"duplicate key in comma-separated list property: {key}")
        if key in schema and schema[key].type == "boolean":
            value = {"on": "1", "yes": "1", "true": "1", "off": "0", "no": "0", "false": "0"}.get(value.lower(), value)
        values[key] = value
    return values


def parse_property_string(schema: t.Mapping[str, Prop], text: str, path: str = "") -> dict[str, str]:
    """The checked keys and values of a property string; FormatError with PVE's text."""
    values = split_property_string(schema, text)
    errors = check_parameters(schema, values, path + "." if path else "")
    if errors:
        raise FormatError("\n".join(["format error"] + [f"{name}: {errors[name].rstrip()}" for name in sorted(errors)]))
    return values


def split_list(text: t.Optional[str]) -> list[str]:
    """PVE's lists: separated by comma, semicolon, blanks, or the null byte that stands for a repeated parameter."""
    return [part for part in re.split(r"[,;\s\0]+", text or "") if part]
