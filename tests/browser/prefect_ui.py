"""What a person does in the Prefect UI, by what they see there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from tests.waits import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Locator, Page

STANDS_STILL = "document.getAnimations().every((each) => !(each instanceof CSSTransition))"


def _becomes(what: Locator, state: Literal["hidden", "visible"], timeout: float = 5_000) -> bool:
    """Say whether something is shown, or hidden, within some seconds (``timeout`` in ms)."""
    from playwright.sync_api import TimeoutError as NotInTime

    try:
        what.wait_for(state=state, timeout=timeout)
    except NotInTime:
        return False
    return True


@dataclass(frozen=True)
class PrefectUi:
    """The pages of the UI that is served at the address that `haas up` prints."""

    page: Page
    pictures: Path

    def picture(self, name: str, height: int = 1000) -> None:
        """Keep the page as it is, from its top down to ``height`` pixels."""
        self.page.locator("body").hover(position={"x": 5, "y": 5})  # nothing is highlighted
        self.page.evaluate("document.activeElement.blur()")
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_function(STANDS_STILL)
        part = {"x": 0, "y": 0, "width": 1280, "height": height}
        self.page.screenshot(path=self.pictures / f"{name}.png", clip=part)  # type: ignore[arg-type]

    # Deployments

    def open_deployments(self) -> None:
        self.page.goto("/")
        self.page.get_by_role("link", name="Deployments", exact=True).click()
        self.row("metadata-refresh").wait_for()

    def row(self, flow: str, deployment: str = "") -> Locator:
        """Return the row of a flow's deployment: of its only one, or the one with this name."""
        named = self.page.get_by_role("link", name=flow, exact=True)
        return self.page.get_by_role("row").filter(has=named, has_text=deployment)

    def open_deployment(self, flow: str, deployment: str = "") -> None:
        self.row(flow, deployment).locator("a[href*='/deployments/deployment/']").click()

    def open_form(self) -> None:
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.page.get_by_role("button", name="Submit").wait_for()

    # The form

    def field(self, title: str) -> Locator:
        label = self.page.locator("label").get_by_text(re.compile(rf"^{re.escape(title)}( \(|$)"))
        return label.locator("xpath=ancestor::div[./fieldset][1]")

    def fill(self, title: str, value: str, kind: str | None = None) -> None:
        """Fill a field; one that may be left out needs its kind of value chosen first."""
        field = self.field(title)
        if kind:
            field.get_by_role("tab", name=kind, exact=True).click()
        field.locator("textarea, input").fill(value)

    def choose(self, title: str, value: str) -> None:
        self.page.get_by_role("button", name=f"Select {title}").click()
        self.page.get_by_role("option", name=value, exact=True).click()

    def submit(self) -> None:
        self.page.get_by_role("button", name="Submit").click()

    # Runs

    def open_new_run(self) -> UUID:
        """Open the run that was just submitted, from the notice or the list; return its id.

        A server that is busy writing refuses one, or a late answer brings back what was said of a
        field, and the form stays: a person submits it again.
        """
        link = self.page.locator("a[href*='/runs/flow-run/']").first
        submit = self.page.get_by_role("button", name="Submit")
        while not _becomes(link, "visible", timeout=30_000):
            assert submit.is_visible(), "there is neither a run nor its form"
            submit.click()
        link.click()
        self.page.wait_for_url("**/runs/flow-run/**")
        return UUID(re.split(r"[/?]", self.page.url.partition("/flow-run/")[2])[0])

    def wait_for_state(self, state: str) -> None:
        self.page.get_by_text(state, exact=True).first.wait_for()

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name, exact=True).click()

    def artifact(self, key: str) -> Locator:
        return self.page.locator("a[href*='/artifacts/artifact/']").filter(has_text=key)

    def wait_for_artifact(self, key: str) -> Locator:
        """Open the tab of artifacts, and load it again: the list does not grow by itself."""
        return self._wait_on_tab("Artifacts", self.artifact(key), f"the artifact {key}")

    def wait_for_log(self, text: str) -> Locator:
        """Open the tab of logs, and load it again: the list may stay as it was at first."""
        return self._wait_on_tab("Logs", self.page.get_by_text(text).first, f"the line {text}")

    def _wait_on_tab(self, tab: str, wanted: Locator, what: str) -> Locator:
        self.open_tab(tab)

        def listed() -> bool:
            if _becomes(wanted, "visible"):
                return True
            self.page.reload()
            return False

        wait_until(listed, what=what)
        return wanted

    def open_artifact(self, key: str) -> None:
        self.wait_for_artifact(key).click()
        self.page.wait_for_url("**/artifacts/artifact/**")

    def progress(self) -> float:
        """Load the page of a progress artifact again; return the percentage on it."""
        self.page.reload()
        shown = self.page.get_by_text(re.compile(r"^Progress: [\d.]+%$")).inner_text()
        return float(shown.removeprefix("Progress: ").removesuffix("%"))

    def cancel_run(self) -> None:
        self.page.get_by_role("button", name="Open menu").click()
        self.page.get_by_role("menuitem", name="Cancel", exact=True).click()
        self.page.get_by_role("button", name="Cancel Flow Run", exact=True).click()
