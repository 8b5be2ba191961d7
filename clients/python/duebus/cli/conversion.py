"""Converts texts and durations without pydantic, which typer loads to convert any argument, even one that is missing.

Loading it takes a quarter of the CPU time of a short command.
"""

from collections.abc import Callable
from typing import Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup


class Converter:
    """Takes the place of typer's converter of a parameter, and leaves numbers, choices and paths to it."""

    def __init__(self, parameter: Any) -> None:
        self._is_list = parameter.multiple or parameter.nargs == -1
        self._parse = _parser_of(parameter)
        self._converter_of_typer = parameter.get_runtime_param

    def __call__(self) -> "Converter":
        """Typer asks for the converter just before it converts a value."""
        return self

    def coerce(self, value: Any, param: Any, ctx: typer.Context) -> Any:
        """The value that the command receives.

        Raises:
            typer.BadParameter: the text can't be converted.
        """
        if value is None:
            return () if self._is_list else None
        if value is param.default:
            return value
        if self._parse is None:
            return self._converter_of_typer().coerce(value, param=param, ctx=ctx)
        return [self._parse(each) for each in value] if self._is_list else self._parse(value)


def _parser_of(parameter: Any) -> Callable[[str], Any] | None:
    """What makes a value of a text; None if that takes pydantic."""
    described = parameter.type_descriptor
    kind = get_args(described.annotation)[0] if described.is_list else described.annotation
    return described.parameter_info.parser or (str if kind is str else None)


def _with_converters(parameters: list[Any]) -> list[Any]:
    for each in parameters:
        if not isinstance(each.get_runtime_param, Converter):
            each.get_runtime_param = Converter(each)
    return parameters


class Command(TyperCommand):
    """A command whose parameters have a Converter."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, and --help."""
        return _with_converters(super().get_params(ctx))


class Group(TyperGroup):
    """A group of commands whose own parameters have a Converter."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, and --help."""
        return _with_converters(super().get_params(ctx))
