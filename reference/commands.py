"""The page about the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from reference.markdown import block, code, table
from stepwire_cli.main import app

_INTRODUCTION = """# Command line

`stepwire --help` and `stepwire COMMAND --help` say the same. The command line reads the same
[settings](settings.md) as the services. Its exit codes:

| Code | Meaning |
|---|---|
| 0 | done |
| 1 | what was asked for failed or was refused |
| 2 | wrong usage, or a setting that cannot be used |
| 3 | something it needs cannot be reached, or a port is taken |

"""


def page() -> str:
    """All commands with their arguments and options, from typer."""
    return _INTRODUCTION + "\n".join(_sections(typer.main.get_command(app), "stepwire"))


def _sections(command: Any, path: str) -> Iterator[str]:
    """One section per command; a group is told by its members."""
    members = getattr(command, "commands", None)
    if members is None:
        yield _section(command, path)
        return
    for name in sorted(members):
        if not members[name].hidden:
            yield from _sections(members[name], f"{path} {name}")


def _section(command: Any, path: str) -> str:
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    words = [path, *(f"[{_name(a)}]" if not a.required else _name(a) for a in arguments)]
    usage = " ".join([*words, *(["[OPTIONS]"] if options else [])])
    rows = [*map(_argument, arguments), *map(_option, options)]
    told = table(("Argument or option", "Default", "Meaning"), rows) if rows else ""
    about = "\n".join(line.strip() for line in (command.help or "").splitlines())
    example = (command.epilog or "").removeprefix("Example: ")
    shown = f"For example:\n\n{block(example, 'sh')}\n" if example else ""
    return f"## {path}\n\n{about}\n\n{block(usage, 'sh')}\n{told}\n{shown}"


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name).upper() + ("..." if argument.nargs == -1 else "")


def _argument(argument: Any) -> tuple[str, str, str]:
    return code(_name(argument)), code(_default(argument)), getattr(argument, "help", None) or ""


def _option(option: Any) -> tuple[str, str, str]:
    return ", ".join(map(code, [*option.opts, *option.secondary_opts])), code(_default(option)), option.help or ""


def _default(parameter: Any) -> str:
    default = parameter.default
    shown = default is not None and not isinstance(default, bool) and not callable(default) and default not in ((), [])
    return str(default) if shown else ""
