"""What a person does in the Prefect UI, by what they see there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from tests.e2e.prefect_processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from playwright.sync_api import Locator, Page

STANDS_STILL = "document.getAnimations().every((each) => !(each instanceof CSSTransition))"
PATIENCE = 90  # seconds for something to come about in a run


@dataclass(frozen=True)
class PrefectUi:
    """The pages of the UI that is served at the address that `haas up` prints."""

    page: Page
    pictures: Path

    def picture(self, name: str, height: int = 1000) -> None:
        """Keep the page as it is, from its top down to ``height`` pixels."""
        self.page.locator("body").hover(position={"x": 5, "y": 5})  # nothing is highlighted
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_function(STANDS_STILL)
        part = {"x": 0, "y": 0, "width": 1280, "height": height}
        self.page.screenshot(path=self.pictures / f"{name}.png", clip=part)  # type: ignore[arg-type]

    # Deployments

    def open_deployments(self) -> None:
        self.page.goto("/")
        self.page.locator("a[href='/deployments']").first.click()
        self.page.get_by_role("link", name="metadata-refresh").wait_for()

    def open_deployment(self, flow: str) -> None:
        row = self.page.get_by_role("row").filter(
            has=self.page.get_by_role("link", name=flow, exact=True)
        )
        row.locator("a[href*='/deployments/deployment/']").click()

    def open_form(self) -> None:
        self.page.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_text("Custom run", exact=True).click()
        self.page.get_by_role("button", name="Submit").wait_for()

    # The form

    def field(self, title: str) -> Locator:
        label = self.page.locator("label").get_by_text(re.compile(rf"^{re.escape(title)}( \(|$)"))
        return self.page.locator(".schema-form-property").filter(has=label)

    def fill(self, title: str, value: str, kind: str | None = None) -> None:
        """Fill a field; one that may be left out needs its kind of value chosen first."""
        field = self.field(title)
        if kind:
            field.get_by_role("button", name=kind, exact=True).click()
        field.locator("textarea, input").fill(value)

    def choose(self, title: str, value: str) -> None:
        self.field(title).locator("button.p-select-button__control").press("ArrowDown")
        self.page.get_by_role("option", name=value, exact=True).click()

    def submit(self) -> None:
        self.page.get_by_role("button", name="Submit").click()

    # Runs

    def open_new_run(self) -> UUID:
        """Open the run that was just submitted, from its deployment's list; return its id."""
        self.page.wait_for_url("**/deployments/deployment/*?tab=Runs")
        self.page.locator("a[href*='/runs/flow-run/']").first.click()
        self.page.wait_for_url("**/runs/flow-run/**")
        return UUID(re.split(r"[/?]", self.page.url.partition("/flow-run/")[2])[0])

    def wait_for_state(self, state: str) -> None:
        badge = self.page.locator(".state-badge, .p-tag").get_by_text(state, exact=True).first
        self.reload_until(badge.is_visible, f"the state {state}")

    def open_tab(self, name: str) -> None:
        self.page.get_by_role("tab", name=name).or_(
            self.page.locator(".p-tab").get_by_text(name, exact=True)
        ).first.click()

    def artifact(self, key: str) -> Locator:
        return self.page.locator("a[href*='/artifacts/artifact/']").filter(has_text=key)

    def open_artifact(self, key: str) -> None:
        self.open_tab("Artifacts")
        self.artifact(key).first.click()
        self.page.wait_for_url("**/artifacts/artifact/**")

    def progress(self) -> float:
        """Return the percentage on the page of a progress artifact; 0 when there is none yet."""
        found = re.search(r"Progress: ([\d.]+)", self.page.locator("body").inner_text())
        return float(found[1]) if found else 0.0

    def cancel_run(self) -> None:
        self.page.get_by_role("button", name="Cancel", exact=True).click()
        self.page.get_by_role("button", name="Confirm", exact=True).click()

    def reload_until(self, seen: Callable[[], Any], what: str) -> Any:
        def look() -> Any:
            found = seen()
            if not found:
                self.page.wait_for_timeout(700)
                found = seen()
            if not found:
                self.page.reload()
                self.page.wait_for_timeout(700)
            return found

        return wait_until(look, timeout=PATIENCE, what=what)
