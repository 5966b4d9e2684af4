"""What the page on FHIR servers shows is a channel that ``check`` passes."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa

from interop_engine.config import loader
from tests.config.test_config_check import CHANNEL, site
from tests.support.certificates import Authority, write_key


def test_what_the_page_on_fhir_servers_shows(tmp_path: Path) -> None:
    """Each destination shown, and each line of the table of servers: the options are there and fit together."""
    page = (Path(__file__).parents[2] / "docs/how-to/write-to-a-fhir-server.md").read_text(encoding="utf-8")
    Authority(tmp_path / "tls", "hub-ca").sign("hospital")
    write_key(tmp_path / "tls" / "hub-client.key", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    head = CHANNEL[: CHANNEL.index("deliver:")]
    shown = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    table = [line.split("`")[1] for line in page.splitlines() if line.startswith("| ") and line.count("`") >= 2 and ": " in line]
    modes = [mode for mode in table if mode.startswith(("bundle:", "write:"))]
    shown += [f'deliver:\n  - name: record\n    fhir: {{url: "https://hub.example/fhir", {mode}}}\n' for mode in modes]
    for block in shown:
        assert loader.check(site(tmp_path, channels__patients=head + block), {}) == []
    assert (len(shown), len(modes)) == (8, 4)
