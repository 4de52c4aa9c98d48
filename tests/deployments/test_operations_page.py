"""What the operations page and `haas check` tell to type is understood by Prefect."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec

import pytest

from deployments import check_mistakes as mistakes
from tests.deployments.conftest import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
FILLED_IN = {"N": "2", "{pool}": "haas-media", "{queue}": "default"}


def commands(text: str) -> set[str]:
    """Return what is to be typed of Prefect's: in backticks, or in a line of its own."""
    quoted = re.findall(r"`(?:HAAS_\w+=\S+ )?(prefect [^`]+)`", text)
    return set(quoted) | set(re.findall(r"^ {4,}(prefect .+)$", text, re.MULTILINE))


def test_there_are_commands() -> None:
    assert len(commands(PAGE)) >= 9
    assert any("--pool" in text for each in mistakes.MISTAKES.values() for text in [each.text])


@pytest.mark.parametrize(
    "command",
    sorted(commands(PAGE).union(*(commands(each.text) for each in mistakes.MISTAKES.values()))),
)
def test_prefect_takes_the_command(command: str) -> None:
    from prefect.cli._app import _app

    _, *words = (FILLED_IN.get(word, word) for word in shlex.split(command))
    _app.parse_args(words, print_error=False, exit_on_error=False)


def test_limits_are_taken_off_as_it_says() -> None:
    from prefect.cli._app import _app

    for told in commands(PAGE):
        if " set-concurrency-limit " in told:
            words = shlex.split(told.replace(" set-", " clear-").replace(" N", ""))[1:]
            _app.parse_args(words, print_error=False, exit_on_error=False)


def test_no_setting_is_unknown_to_prefect() -> None:
    from prefect.settings import get_current_settings
    from prefect.settings.legacy import _get_settings_fields

    known = set(_get_settings_fields(type(get_current_settings())))
    named = set(re.findall(r"\bPREFECT_(?!REDIS_)[A-Z_]+", PAGE))
    assert named - known == set()


def test_modules_are_there() -> None:
    for module in re.findall(r"python -m ([\w.]+)", PAGE):
        assert find_spec(module), module
