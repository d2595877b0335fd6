# Copyright (c) corepin contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pvesh on a simulated host: get, set, create, delete, with --output-format json, json-pretty or text."""

from __future__ import annotations

import json
import sys

from door_client import BOOLEANS, FLAGS, Failed, Options, ask

METHODS = {"get": "GET", "set": "PUT", "create": "POST", "delete": "DELETE"}
FORMATS = ("json", "json-pretty", "text", "yaml")


def split_options(arguments: list[str]) -> tuple[Options, str]:
    """Parameters and the output format. pvesh takes `--key value` and `-key value`; a repeated key is a list."""
    params: Options = {}
    output = "text"
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            raise Failed("400 too many arguments\n")
        key, equals, value = word.lstrip("-").partition("=")
        if key in ("noborder", "noheader", "human-readable", "quiet", "nooutput") and (not rest or rest[0].startswith("-")):
            continue
        if not equals:
            if not rest:
                raise Failed(f"Option {key} requires an argument\n400 unable to parse option\n")
            value = rest.pop(0)
        if key == "output-format":
            if value not in FORMATS:
                raise Failed(
                    f"400 Parameter verification failed.\noutput-format: value '{value}' does not have a value in the enumeration "
                    f"'{', '.join(FORMATS)}'\n"
                )
            output = value
        elif key in params:
            params[key] += "\0" + value
        else:
            params[key] = BOOLEANS.get(value.lower(), value) if key in FLAGS else value
    return params, output


def main(arguments: list[str]) -> int:
    try:
        if len(arguments) < 2 or arguments[0] not in METHODS:
            raise Failed(f"ERROR: unknown command 'pvesh {arguments[0] if arguments else ''}'\n")
        params, output = split_options(arguments[2:])
        path = "/" + arguments[1].strip("/")
        try:
            reply = ask(METHODS[arguments[0]], path, params)
        except Failed as failed:
            if failed.text.startswith("Method '"):
                failed.text = f"No '{arguments[0]}' handler defined for '{path}'\n"
            raise
    except Failed as failed:
        sys.stderr.write(failed.text)
        return int(failed.code)
    for line in [*reply["printed"], *(reply.get("log") or [])]:
        sys.stdout.write(line + "\n")
    if reply["data"] is not None:
        sys.stdout.write(json.dumps(reply["data"], indent=3 if output in ("json-pretty", "text") else None) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
