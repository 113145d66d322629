"""Images, compose file and alert rules, held to what the services really know; without Docker."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
import yaml

from stepwire.chassis.metrics import Metrics
from stepwire.chassis.settings import ENV_FILE, PREFIX, Settings
from tests.support import containers
from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
SCRAPES = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
STAGES = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
ONE_SHOT = {"migrate", "topics", "job", "cli"}


def metric_names() -> set[str]:
    """Names of all series the services show."""
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    families = Metrics().registry.collect()
    return {family.name + suffix for family in families for suffix in suffixes.get(family.type, ("",))}


@pytest.mark.parametrize("text", [DOCKERFILE, COMPOSE_TEXT], ids=["Dockerfile", "docker-compose.yml"])
def test_every_setting_that_is_given_exists(text: str) -> None:
    """One that was renamed would be ignored with a warning, in containers whose logs nobody reads."""
    known = {PREFIX + name.upper() for name in Settings.model_fields} | {ENV_FILE}
    given = {name.removesuffix("_FILE") for name in re.findall(r"STEPWIRE_[A-Z_]+", text)}
    assert given
    assert given - known == set()


def test_every_alert_asks_for_metrics_that_exist() -> None:
    """A rule about a metric that is gone never fires."""
    named = {rule["alert"]: set(re.findall(r"stepwire_\w+", rule["expr"])) for rule in RULES}
    assert {alert: names - metric_names() for alert, names in named.items() if names - metric_names()} == {}
    assert set().union(*named.values())


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    """And how bad it is; no two have one name."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_prometheus_reads_every_service_that_has_metrics() -> None:
    """Under the name and on the port it has in the compose file."""
    scraped = {name: c["port"] for scrape in SCRAPES for c in scrape["dns_sd_configs"] for name in c["names"]}
    ports = {"coordinator": 9100, "executor": 9100, "gateway": 8080}
    assert scraped == ports
    assert set(ports) <= set(SERVICES)
    assert {f"{port}" for port in ports.values()} == set(re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE))


def test_the_compose_file_builds_what_the_dockerfile_has() -> None:
    """There is a target per service, and none that is misspelt."""
    built = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert built <= set(STAGES)
    assert {"coordinator", "executor", "gateway", "cli"} <= set(STAGES)


def test_what_goes_on_is_started_again_and_what_ends_is_waited_for() -> None:
    """Services are restarted, jobs are not; nothing starts before the database is migrated and the topics are there."""
    assert {name for name, service in SERVICES.items() if service.get("restart") != "unless-stopped"} == ONE_SHOT
    for name in ("coordinator", "executor", "gateway"):
        waits = {other: how["condition"] for other, how in SERVICES[name]["depends_on"].items()}
        assert waits == dict.fromkeys(["migrate", "topics"], "service_completed_successfully")
    assert all("healthcheck" in SERVICES[name] for name in ("postgres", "kafka", "oss", "prometheus"))
    assert DOCKERFILE.count("HEALTHCHECK --interval") == 3


def test_ours_run_without_rights() -> None:
    """Not as root, without capabilities, on a file system they cannot write."""
    for name, service in SERVICES.items():
        if "build" in service:
            assert (service["cap_drop"], service["read_only"], service["init"]) == (["ALL"], True, True), name
    for stage in ("engine", "cli"):
        body = DOCKERFILE.partition(f" AS {stage}\n")[2].partition("\nFROM ")[0]
        assert "\nUSER stepwire\n" in body


def test_servers_are_those_the_tests_run_on() -> None:
    """The same versions in the compose file and with `pytest --backend=testcontainers`."""
    assert SERVICES["postgres"]["image"] == containers.POSTGRES_IMAGE
    assert SERVICES["kafka"]["image"] == containers.KAFKA_IMAGE


def test_what_is_copied_into_images_is_not_ignored() -> None:
    """`.dockerignore` names what is sent to the builder."""
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    copied = {source.split("/")[0] for line in copies for source in line.split()}
    assert copied == sent
    assert all((ROOT / source).exists() for source in sent)


def _run(program: str, *arguments: str, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / program, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_layers_of_dependencies_have_all_that_the_extras_name() -> None:
    """Extras that name extras of ours are resolved: nothing is installed but what others publish."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    code, text = _run("dependencies.py", str(ROOT / "pyproject.toml"), "gateway", "tracing")
    extras = project["optional-dependencies"]
    expected = [*project["dependencies"], *extras["coordinator"], *extras["gateway"], *extras["tracing"]]
    assert code == 0
    assert text.splitlines() == list(dict.fromkeys(r for r in expected if not r.startswith("stepwire[")))


@contextmanager
def answering(status: int) -> Iterator[str]:
    """The port of a server that answers /health/ready with this status, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health/ready" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name it is called by
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield str(server.server_port)
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_healthy_when_its_service_is_ready(status: int, code: int) -> None:
    """It listens long before it can do anything."""
    with answering(status) as port:
        assert _run("healthy.py", HEALTH_PORT=port)[0] == code


def test_a_container_that_does_not_listen_is_not_healthy() -> None:
    """And says so in one line."""
    code, text = _run("healthy.py", HEALTH_PORT="1")
    assert (code, "refused" in text, "Traceback" in text) == (1, True, False)
