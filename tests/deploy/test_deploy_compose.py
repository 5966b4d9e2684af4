"""The compose files, the image and the unit are what the engine is, and leave nothing open: checked without Docker."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from click.exceptions import Exit
from pydantic import BaseModel, ConfigDict
from typer.main import get_command

from interop_engine.cli.app import app
from interop_engine.config import loader
from interop_engine.core.units import read_size
from tests.support.certificates import Authority
from tests.support.needs import require

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
FILES = ("compose.yaml", "compose.hub.yaml")
VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


class Strict(BaseModel):
    """A part of the compose format, as far as it is used: a key that is misspelt is refused."""

    model_config = ConfigDict(extra="forbid")


class Build(Strict):
    context: str
    dockerfile: str


class Health(Strict):
    test: list[str]
    interval: str
    timeout: str
    retries: int
    start_period: str


class Logging(Strict):
    driver: Literal["json-file"]
    options: dict[str, str]


class Service(Strict):
    image: str
    restart: Literal["unless-stopped"]
    stop_grace_period: str
    mem_limit: str
    cpus: float
    logging: Logging
    build: Build | None = None
    hostname: str = ""
    environment: dict[str, str] = {}
    ports: list[str] = []
    volumes: list[str] = []
    secrets: list[str] = []
    tmpfs: list[str] = []
    read_only: bool = False
    cap_drop: list[str] = []
    security_opt: list[str] = []
    pids_limit: int = 0
    shm_size: str = ""
    deploy: dict[Literal["replicas"], int] = {}
    depends_on: dict[str, dict[Literal["condition"], Literal["service_healthy"]]] = {}
    healthcheck: Health | None = None


class Compose(Strict):
    name: str
    services: dict[str, Service]
    volumes: dict[str, None]
    secrets: dict[str, dict[Literal["file"], str]] = {}


def read(name: str) -> Compose:
    """A compose file."""
    return Compose.model_validate(yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8")))


def filled(text: str) -> str:
    """With the defaults of its variables."""
    return VARIABLE.sub(lambda found: found[3] if found[2] == "-" else "x", text)


def parsed(command: list[str]) -> None:
    """A command line of the program: its verbs and options exist. Raises UsageError where they do not."""
    found: Any = get_command(app)
    program, *rest = command
    assert Path(program).name == "interop-engine"
    while hasattr(found, "commands"):
        word, *rest = rest
        assert word in found.commands, command
        found = found.commands[word]
    try:
        found.make_context(found.name, rest)
    except Exit as ended:
        raise AssertionError(command) from ended


@pytest.mark.parametrize("name", FILES)
def test_what_is_mounted_is_there(name: str) -> None:
    """Every path on the host exists, every named volume and secret is declared, and no declared one is unused."""
    file = read(name)
    sources = [filled(volume).split(":")[0] for each in file.services.values() for volume in each.volumes]
    paths = [each for each in sources if each.startswith(".")]
    assert [each for each in paths if not (DEPLOY / each).exists()] == []
    assert set(sources) - set(paths) == set(file.volumes)
    assert {secret for each in file.services.values() for secret in each.secrets} == set(file.secrets)
    assert {Path(each["file"]).parts[0] for each in file.secrets.values()} <= {"secrets"}


@pytest.mark.parametrize("name", FILES)
def test_variables_are_those_that_the_site_reads(name: str) -> None:
    """What the engine is given as environment is used in the files of the site that is mounted."""
    site = ROOT if name == "compose.yaml" else DEPLOY / "hub"
    texts = [path.read_text(encoding="utf-8") for path in (site / "engine.yaml", *(site / "channels").glob("*.yaml"))]
    used = {found for text in texts for found in re.findall(r"\$\{([A-Z_]+)", text)}
    assert set(read(name).services["engine"].environment) <= used


@pytest.mark.parametrize("name", FILES)
def test_the_engine_is_confined_and_limited(name: str) -> None:
    """Read-only root, no capabilities, no new privileges, limits of memory, processor and processes; time to end in order."""
    engine = read(name).services["engine"]
    assert engine.read_only
    assert engine.cap_drop == ["ALL"]
    assert engine.security_opt == ["no-new-privileges:true"]
    assert engine.pids_limit > 0
    assert int(engine.stop_grace_period.removesuffix("s")) > 15 + 8


@pytest.mark.parametrize("name", FILES)
def test_no_password_is_written_down(name: str) -> None:
    """Secrets come as files that are not in the repository; a port is published on loopback unless an address is given."""
    file = read(name)
    for service in file.services.values():
        secret = [key for key in service.environment if re.search("PASS|SECRET|TOKEN|URL", key)]
        assert [key for key in secret if not key.endswith("_FILE") and not service.environment[key].startswith("${")] == []
        assert all(port.startswith("${ADDRESS:-127.0.0.1}:") for port in service.ports)
    ignored = (DEPLOY / "secrets" / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored


def test_the_sample_listens_on_the_published_ports() -> None:
    """Each port of the edge's box is one that a channel of the sample site listens on."""
    site = loader.load(ROOT, {"LISTEN": "0.0.0.0"}, compiled=False)
    listens = {each.source.listen for each in site.channels if hasattr(each.source, "listen")}
    published = {f"0.0.0.0:{filled(port).rpartition(':')[2]}" for port in read("compose.yaml").services["engine"].ports}
    assert published <= listens


def test_the_hubs_site_is_one_that_check_takes(tmp_path: Path) -> None:
    """With its secrets in place there is no mistake and no warning; its queues are those that are declared."""
    text = (DEPLOY / "hub" / "engine.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"/run/secrets/(\w+)", text)) == set(read("compose.hub.yaml").services["engine"].secrets)
    (tmp_path / "engine.yaml").write_text(text.replace("/run/secrets/", f"{tmp_path}/"), encoding="utf-8")
    (tmp_path / "channels").symlink_to(DEPLOY / "hub" / "channels")
    (tmp_path / "journal_url").write_text("postgresql://journal@postgres/journal?sslmode=disable")
    (tmp_path / "rabbitmq_url").write_text("amqps://hub@rabbitmq:5671")
    shutil.copy(Authority(tmp_path).file, tmp_path / "rabbitmq_ca")
    assert loader.check(tmp_path, {"HUB_FHIR_URL": "https://record.example.vn/fhir"}) == []
    agreed = yaml.safe_load((DEPLOY / "rabbitmq" / "agreements.yaml").read_text(encoding="utf-8"))
    assert yaml.safe_load(text)["exchange"]["queues"] == agreed["facilities"]["hub"]["queues"]


def test_the_hubs_site_and_its_broker_have_one_limit() -> None:
    """Without it a RabbitMQ 4 takes 16 MiB: what the engine may send is what the broker was told to take."""
    conf = (DEPLOY / "hub" / "rabbitmq.conf").read_text(encoding="utf-8")
    engine = yaml.safe_load((DEPLOY / "hub" / "engine.yaml").read_text(encoding="utf-8"))
    assert re.findall(r"^max_message_size = (\d+)$", conf, re.MULTILINE) == [str(read_size(engine["exchange"]["max_message"]))]


def test_the_hub_has_three_workers_that_wait_for_what_they_need() -> None:
    """Three replicas, started when broker and database answer their health checks."""
    services = read("compose.hub.yaml").services
    assert services["engine"].deploy == {"replicas": 3}
    assert set(services["engine"].depends_on) == {name for name, each in services.items() if each.healthcheck}


def test_the_image_is_pinned_and_not_run_by_root() -> None:
    """Dependencies by hash, a user with a number, a health check and a command that the program has; its files exist."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    last = {word: rest for word, rest in lines if word not in ("COPY", "RUN")}
    assert last["USER"] == "10001:10001"
    assert "VOLUME" not in last
    copied = [name for word, rest in lines if word == "COPY" and "--from" not in rest for name in rest.split()[:-1]]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    installs = [line for word, rest in lines if word == "RUN" for line in rest.split("&&") if "pip install" in line]
    assert all("--require-hashes" in line or "--no-deps --no-build-isolation" in line for line in installs)
    parsed(shlex.split(re.sub(r"[\[\],]", " ", last["HEALTHCHECK"].partition("CMD ")[2])))
    parsed(shlex.split(re.sub(r"[\[\],]", " ", f"{last['ENTRYPOINT']} {last['CMD']}")))
    kept = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8")
    assert all(f"!{name}\n" in kept for name in copied)


def test_the_unit_runs_the_program(tmp_path: Path) -> None:
    """Its commands are the program's own; systemd finds no fault in it and calls it well confined."""
    require(shutil.which("systemd-analyze"), "systemd-analyze (Debian package systemd)")
    text = (DEPLOY / "systemd" / "interop-engine.service").read_text(encoding="utf-8")
    for line in re.findall(r"^Exec\w+=(.*)$", text, re.MULTILINE):
        parsed(shlex.split(line))
    unit = tmp_path / "interop-engine.service"
    unit.write_text(text.replace("/opt/interop-engine/bin/interop-engine", "/bin/true"), encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    analysed = subprocess.run(["systemd-analyze", "security", "--offline=yes", unit], capture_output=True, text=True, check=True)
    exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", analysed.stdout)
    assert exposure is not None
    assert float(exposure[1]) < 2
