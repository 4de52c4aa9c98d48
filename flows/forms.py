"""Parameters as the forms of the Prefect UI show them."""

from typing import Any

from pydantic import Field


def field(default: Any = ..., *, title: str, description: str, **schema: Any) -> Any:
    """Describe a flow parameter.

    Prefect takes a parameter's name for its title unless the schema says otherwise.

    Bounds of a parameter that can be left out belong into ``schema``: as part of its type they are
    one of two alternatives, and the server refuses 99 with "not valid under any of the given
    schemas" in place of "greater than the maximum of 63".

    Args:
        default: its value when the form leaves it out; ``...`` when it has to be given.
        title: the label of the form's field.
        description: the text under it.
        schema: further keywords of JSON schema, for the server to check.
    """
    return Field(
        default=default, description=description, json_schema_extra={"title": title, **schema}
    )
