"""Makes ``prefect deploy --all`` work on a server that has never heard of us.

A plugin of Prefect's own kind (``prefect.plugins`` entry point, switched on in ``prefect.toml``).
When `prefect deploy` begins it checks the variables of ``prefect.yaml``, gives that of the work
pool its default, and creates the pool, because Prefect refuses to deploy to one that is not there
and offers no step before that; it takes away what earlier versions left on the server, and has what
a person did in the UI put back at the end. In any other process it does nothing.
"""

from __future__ import annotations

import atexit
import contextlib
import signal
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect.plugins import SetupResult, register_hook

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.plugins import HookContext

    from deployments.kept import Before

# Marked silent runs as Crashed after 90 s: after an outage of the server, living ones.
EARLIER_AUTOMATION = "haas-media: flag zombie runs"
# Ran every five minutes; two reconcilers that look at the same moment may tell a span twice.
EARLIER_RECONCILER = "reconcile-spans/every-5-minutes"


@register_hook
def setup_environment(*, ctx: HookContext) -> SetupResult | None:
    """Prepare for ``prefect deploy``, if this process is that.

    Args:
        ctx: says which server is meant.

    Returns:
        the variable that names the work pool, for the file's ``{{ $HAAS_WORK_POOL }}``.

    Raises:
        SystemExit: a variable is wrong or the server does not answer. Prefect itself would show a
            traceback.
    """
    if not is_deploying(_command_line()):
        return None
    import httpx

    from deployments import kept
    from deployments.defaults import from_environment
    from deployments.server import unusable
    from deployments.work_pool import VARIABLE, create_work_pool, work_pool_name

    try:
        name = work_pool_name()
        from_environment()
    except ValueError as error:
        raise SystemExit(str(error)) from None
    take_placeholders()
    if ctx.api_url is not None:
        from prefect.client.orchestration import get_client

        try:
            with get_client(sync_client=True) as client:
                create_work_pool(client, name)
                before = kept.remember(client)
                if "--all" in _command_line():  # what is deployed is their successor
                    take_away_earlier(client)
                for sentence in kept.said(before):
                    sys.stderr.write(f"{sentence}\n")
                atexit.register(_put_back, before)
                for number in (signal.SIGTERM, signal.SIGHUP):  # which would leave that out
                    signal.signal(number, lambda number, _: sys.exit(128 + number))
        except httpx.HTTPError as error:
            raise SystemExit(unusable(ctx.api_url, error)) from None
    return SetupResult(env={VARIABLE: name}, note=f"work pool {name}")


def take_away_earlier(client: SyncPrefectClient) -> None:
    """Delete the automation and the deployment that earlier versions left on a server."""
    from prefect.exceptions import ObjectNotFound

    for automation in client.read_automations_by_name(EARLIER_AUTOMATION):
        client.delete_automation(automation.id)
    with contextlib.suppress(ObjectNotFound):
        client.delete_deployment(client.read_deployment_by_name(EARLIER_RECONCILER).id)


def _put_back(before: dict[str, Before]) -> None:
    from prefect.client.orchestration import get_client

    from deployments import kept

    # A second signal would leave the rest as Prefect has made it.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with get_client(sync_client=True) as client:
        kept.put_back(client, before)


def _command_line() -> list[str]:
    # With `python -m prefect` the first word is not yet the module's path while that is imported.
    return sys.argv if sys.argv[0] != "-m" else sys.orig_argv[-len(sys.argv) :]


def is_deploying(arguments: list[str]) -> bool:
    """Say whether a command line is that of ``prefect deploy``."""
    program, *rest = arguments
    words = [
        word
        for before, word in pairwise(arguments)
        if not word.startswith("-") and before not in ("-p", "--profile")
    ]
    is_prefect = Path(program).stem == "prefect"
    return is_prefect and words[:1] == ["deploy"] and "--help" not in rest


def take_placeholders() -> None:
    """Have Prefect take ``{{ ... }}`` for a deployment's job variables and for its limit.

    It fills in values of any type, but the model by which it reads ``prefect.yaml`` before has a
    mapping and a number there (``prefect.cli.deploy._models`` of Prefect 3.9).
    """
    from prefect.cli.deploy import _models as models

    models.WorkPoolConfig.model_fields["job_variables"].annotation = Any
    models.ConcurrencyLimitSpec.model_fields["limit"].annotation = Any
    for model in (
        models.WorkPoolConfig,
        models.ConcurrencyLimitSpec,
        models.DeploymentConfig,
        models.PrefectYamlModel,
    ):
        model.model_rebuild(force=True)
