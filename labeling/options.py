"""Command-line options made from dataclasses, so that a setting is written down once.

Each field becomes an option: its name, type and default are the field's, its help the field's
`metadata["help"]`; `metadata["flags"]`, if there, are all its spellings. A ValueError from the dataclass is a
usage error.
"""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Annotated, Any, get_type_hints

import typer


def with_options(**kinds: type) -> Callable[[Callable], Callable]:
    """Replace parameters of a command by the fields of dataclasses: `@with_options(config=ServeConfig)`."""

    def decorate(command: Callable) -> Callable:
        signature = inspect.signature(command, eval_str=True)
        parameters = [p for p in signature.parameters.values() if p.name not in kinds]
        own = {p.name for p in parameters}
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        for kind in kinds.values():
            parameters += _options(kind)

        @functools.wraps(command)
        def run(**values: Any) -> Any:
            given = {name: values[name] for name in own}
            with one_sentence(ValueError):
                for name, kind in kinds.items():
                    given[name] = kind(**{f.name: values[f.name] for f in fields(kind)})
            return command(**given)

        run.__signature__ = signature.replace(parameters=parameters)
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def with_value(args: list[str], option: str, value: str) -> list[str]:
    """Arguments in which an option that stands alone has this value: `--json` as well as `--json FILE`."""
    found = []
    for number, word in enumerate(args):
        found.append(word)
        if word == option and (number + 1 == len(args) or args[number + 1].startswith("--")):
            found.append(value)
    return found


def _options(kind: type) -> list[inspect.Parameter]:
    hints = get_type_hints(kind)
    return [
        inspect.Parameter(
            f.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=f.default,
            annotation=Annotated[
                hints[f.name], typer.Option(*f.metadata.get("flags", ()), help=f.metadata["help"])
            ],
        )
        for f in fields(kind)
    ]


@contextmanager
def one_sentence(*errors: type[Exception]) -> Iterator[None]:
    """Let these errors end the command with their sentence and exit code 2, not with a traceback; Ctrl-C with
    what there is to say of it, often nothing, and exit code 130."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print(stop, end="\n" if str(stop) else "", file=sys.stderr)
        raise typer.Exit(130) from stop
    except errors as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from error
