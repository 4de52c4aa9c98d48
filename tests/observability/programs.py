"""Real backends, and the collector with the files that are shipped, while a test needs them.

A program is looked for at the path in ``HAAS_TEST_<NAME>``, on ``PATH``, and packed in the folder
``backends`` beside the other data of the tests. Each gets free ports of 127.0.0.1. A variable of
Jaeger, Zipkin or the Aspire Dashboard may be the address of its pages: that one is used then. It
has to be empty, and to take OTLP at the ports that it has by itself.
"""

from __future__ import annotations

import io
import lzma
import os
import re
import shutil
import tarfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx

from tests.backends import KEY
from tests.e2e.prefect_processes import end, free_port, start
from tests.parts import require
from tests.waits import wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deployments" / "observability"
PACKED = Path(os.environ.get("HAAS_TEST_DATA") or ROOT.parent / "shared") / "backends" / "bin"
(ZIPKIN_VERSION,) = re.findall(
    r"ZIPKIN_VERSION:-(.*)}", (FILES / "zipkin/compose.yaml").read_text()
)
ZIPKIN = Path.home() / f".m2/repository/io/zipkin/zipkin-server/{ZIPKIN_VERSION}"
AZURE = "APPLICATIONINSIGHTS_CONNECTION_STRING"
# Of a collector, as Jaeger is one: by then all of its ports are open.
READY = "Everything is ready"
GET = {
    "otelcol": "put an OpenTelemetry Collector (contrib) of that name on PATH",
    "jaeger": "put Jaeger 2 of that name on PATH",
    "Aspire.Dashboard": "name the program in HAAS_TEST_ASPIRE_DASHBOARD",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
    "java": "apt-get install default-jre-headless",
    "zipkin-server": "mvn dependency:get -Dtransitive=false"
    f" -Dartifact=io.zipkin:zipkin-server:{ZIPKIN_VERSION}:jar:exec",
}


def program(name: str, unpacked: Path) -> str:
    """Return the path of a program; a packed one is unpacked into this folder once."""
    variable = f"HAAS_TEST_{name.upper().replace('.', '_')}"
    found = os.environ.get(variable) or shutil.which(name)
    archive = {"Aspire.Dashboard": "aspire.tar.xz"}.get(name, f"{name}.xz")
    if not found and (PACKED / archive).exists():
        found = str(_unpack(PACKED / archive, name, unpacked))
    require(name, found, GET[name])
    return str(found)


def _unpack(archive: Path, name: str, folder: Path) -> Path:
    whole = folder / f"{archive.name}-{archive.stat().st_size}"
    if not whole.exists():
        part = folder / f"{whole.name}.{os.getpid()}"
        part.mkdir(parents=True)
        content = lzma.decompress(archive.read_bytes())
        if ".tar." in archive.name:
            with tarfile.open(fileobj=io.BytesIO(content)) as files:
                files.extractall(part, filter="data")
        else:
            (part / name).write_bytes(content)
        (part / name).chmod(0o755)
        with suppress(OSError):  # another process of the tests was faster
            part.rename(whole)
    return whole / name


@dataclass(frozen=True)
class Backend:
    """A running backend: where its API is, and where it takes OTLP (gRPC, and HTTP)."""

    api: str
    grpc: str = ""
    http: str = ""
    log: Path | None = None

    def get(self, path: str, **parameters: str) -> Any:
        """Ask its API; what it refuses is an error."""
        answer = httpx.get(f"{self.api}{path}", params=parameters, timeout=60)
        assert answer.is_success, f"{path} {parameters}: {answer.status_code} {answer.text}"
        return answer.json()

    def post(self, signal: str, message: bytes) -> None:
        """Send a request of OTLP, as protobuf."""
        headers = {"Content-Type": "application/x-protobuf"}
        url = f"{self.http}/v1/{signal}"
        answer = httpx.post(url, content=message, headers=headers, timeout=60)
        assert answer.is_success, answer.text


@contextmanager
def running(
    argv: Sequence[str], folder: Path, answers: str, says: str = "", **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the block ends; it is up when this address answers, and it says so."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log"
    log.unlink(missing_ok=True)  # what it said before it was restarted
    process = start(argv, {**os.environ, **variables}, log, folder)

    def up() -> bool:
        assert process.poll() is None, log.read_text()[-4000:]
        with suppress(httpx.HTTPError):
            return httpx.get(answers, timeout=10).status_code < 500 and says in log.read_text()
        return False

    try:
        wait_until(up, what=f"{argv[0]} at {answers}")
        yield process
    finally:
        end(process)


def replaced(text: str, **by: Any) -> str:
    """Replace each of these exactly, and fail for one that is not there."""
    for old, new in by.items():
        assert old in text, old
        text = text.replace(old, str(new))
    return text


JAEGER = """
service:
  extensions: [jaeger_storage, jaeger_query]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
extensions:
  jaeger_storage: {{backends: {{memory: {{memory: {{max_traces: 100000}}}}}}}}
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "127.0.0.1:{api}"}}
    grpc: {{endpoint: "127.0.0.1:{query}"}}
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
      http: {{endpoint: "127.0.0.1:{http}"}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"""


def at_address(name: str, grpc: int, http: int) -> Backend | None:
    """Return the backend at the address in its variable; None where there is none."""
    url = os.environ.get(f"HAAS_TEST_{name}", "")
    host = urlsplit(url).hostname
    return Backend(url.rstrip("/"), f"{host}:{grpc}", f"http://{host}:{http}") if host else None


@contextmanager
def jaeger(folder: Path, unpacked: Path) -> Iterator[Backend]:
    """Run Jaeger, in memory."""
    if there := at_address("JAEGER", 4317, 4318):
        yield there
        return
    ports = {name: free_port() for name in ("api", "query", "grpc", "http")}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "jaeger.yaml").write_text(JAEGER.format(**ports))
    api = f"http://127.0.0.1:{ports['api']}"
    argv = [program("jaeger", unpacked), "--config", str(folder / "jaeger.yaml")]
    with running(argv, folder, f"{api}/api/services", READY):
        yield Backend(api, f"127.0.0.1:{ports['grpc']}", f"http://127.0.0.1:{ports['http']}")


@contextmanager
def zipkin(folder: Path, _: Path) -> Iterator[Backend]:
    """Run Zipkin, in memory. It takes its own format only."""
    if there := at_address("ZIPKIN_SERVER", 0, 0):
        yield there
        return
    jar = ZIPKIN / f"zipkin-server-{ZIPKIN_VERSION}-exec.jar"
    require("zipkin-server", jar.exists(), GET["zipkin-server"])
    api = f"http://127.0.0.1:{(port := free_port())}"
    argv = [program("java", folder), "-Xmx512m", "-jar", str(jar)]
    with running(argv, folder, f"{api}/health", QUERY_PORT=str(port)):
        yield Backend(api)


@contextmanager
def aspire(folder: Path, unpacked: Path) -> Iterator[Backend]:
    """Run the Aspire Dashboard with the settings of its compose file."""
    if there := at_address("ASPIRE_DASHBOARD", 18889, 18890):
        yield there
        return
    api, grpc, http = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    variables = {
        "ASPNETCORE_URLS": api,
        "DOTNET_DASHBOARD_OTLP_ENDPOINT_URL": grpc,
        "DOTNET_DASHBOARD_OTLP_HTTP_ENDPOINT_URL": http,
        "DOTNET_DASHBOARD_UNSECURED_ALLOW_ANONYMOUS": "true",
    }
    with running([program("Aspire.Dashboard", unpacked)], folder, api, **variables):
        yield Backend(api, grpc.removeprefix("http://"), http)


@contextmanager
def collector(
    backend: str,
    folder: Path,
    unpacked: Path,
    places: Mapping[str, Any],
    port: int = 0,
    azure: str = f"InstrumentationKey={KEY}",
) -> Iterator[Backend]:
    """Run the collector with a backend's file; listening elsewhere, and ``places`` replaced."""
    grpc, http = free_port(), port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    text = (FILES / backend / "collector.yaml").read_text()
    ports = {"0.0.0.0:4317": f"127.0.0.1:{grpc}", "0.0.0.0:4318": f"127.0.0.1:{http}"}
    text = replaced(text, **ports, **places)
    # Its own metrics have a port for all collectors of a machine.
    text = replaced(text, **{"\nservice:\n": "\nservice:\n  telemetry: {metrics: {level: none}}\n"})
    (folder / "collector.yaml").write_text(text)
    argv = [program("otelcol", unpacked), "--config", str(folder / "collector.yaml")]
    with running(argv, folder, (at := f"http://127.0.0.1:{http}"), READY, **{AZURE: azure}):
        yield Backend(at, f"127.0.0.1:{grpc}", at, folder / "log")


def compose_flags() -> list[str]:
    """What the compose file starts Prometheus with, but for its files."""
    text = (FILES / "grafana" / "compose.yaml").read_text()
    flags = re.findall(r"- (--[a-z].*)", text.partition("prom/prometheus")[2].partition("\n\n")[0])
    return [flag for flag in flags if "config.file" not in flag]


@contextmanager
def prometheus(folder: Path, configuration: Path, data: Path) -> Iterator[Backend]:
    """Run Prometheus with a file and the flags of the compose file."""
    api = f"http://127.0.0.1:{(port := free_port())}"
    argv = [
        program("prometheus", folder),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={data}",
        f"--web.listen-address=127.0.0.1:{port}",
        *compose_flags(),
    ]
    with running(argv, folder, f"{api}/-/ready"):
        yield Backend(api)
