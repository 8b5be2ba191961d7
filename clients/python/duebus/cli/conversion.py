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
        self._numbers = _numbers_of(parameter)
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
            return self._coerce_by_typer(value, param, ctx)
        return [self._parse(each) for each in value] if self._is_list else self._parse(value)

    def _coerce_by_typer(self, value: Any, param: Any, ctx: typer.Context) -> Any:
        try:
            return self._converter_of_typer().coerce(value, param=param, ctx=ctx)
        except typer.BadParameter as error:
            if self._numbers is None:
                raise
            raise typer.BadParameter(f"{value!r} is not {self._numbers}", ctx=ctx, param=param) from error


def _parser_of(parameter: Any) -> Callable[[str], Any] | None:
    """What makes a value of a text; None if that takes pydantic."""
    described = parameter.type_descriptor
    kind = get_args(described.annotation)[0] if described.is_list else described.annotation
    return described.parameter_info.parser or (str if kind is str else None)


def _numbers_of(parameter: Any) -> str | None:
    """Which numbers a parameter may be, in words; None if it is not a number."""
    described = parameter.type_descriptor
    if described.annotation not in (int, float):
        return None
    low, high = described.parameter_info.min, described.parameter_info.max
    number = "a whole number" if described.annotation is int else "a number"
    if low is None:
        return number
    return f"{number} of at least {low}" if high is None else f"{number} from {low} to {high}"


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
