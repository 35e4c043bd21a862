"""The doctor over real servers: all is current, then one serves something else, and it says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from certshelf.doctor.handshake import ask_all
from certshelf.doctor.served import Expected, Served, Verdict, judge, target
from certshelf.farm import Kind, Member
from certshelf.manage.bindings import read_bindings
from certshelf.names import HostName
from tests.servers.test_scenarios import NAMES, RIGS, Farm
from tests.support.rig import Rig

pytestmark = pytest.mark.slow
CONFIGS = {
    "nginx": "nginx.conf",
    "nginx-lua": "nginx.conf",
    "haproxy": "haproxy.cfg",
    "apache": "apache.conf",
    "caddy": "Caddyfile",
    "envoy": "envoy.yaml",
    "traefik": "traefik.yml",
}


def ask(farm: Farm, names: tuple[str, ...] = NAMES) -> dict[str, Served]:
    """One verdict a name, as the doctor gives it."""
    member = Member("m", Kind.OTHER, "127.0.0.1", farm.rig.port)
    now = next(iter(farm.shelf.current.values())).not_before

    async def run() -> dict[str, Served]:
        found = {}
        wanted = [target(member, HostName.parse(name)) for name in names]
        async for seen in ask_all(wanted):
            assert seen.target.name is not None
            shelf = farm.shelf.current[seen.target.name.unicode]
            expected = Expected("f", shelf.sha256, shelf.not_before, shelf.not_after)
            found[seen.target.name.unicode] = judge(seen, expected, now)
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("kind", RIGS, ids=lambda kind: kind.kind)
def test_every_name_is_current_on_a_real_server(kind: type[Rig], tmp_path: Path) -> None:
    if kind.missing():
        pytest.skip(f"not installed: {kind.missing()}")
    farm = Farm(tmp_path, kind)
    try:
        farm.serve_all()
        verdicts = {name: served.verdict for name, served in ask(farm).items()}
        assert verdicts == dict.fromkeys(NAMES, Verdict.CURRENT)
        config = farm.rig.work / CONFIGS.get(kind.kind, "none")
        if config.exists():
            assert farm.rig.port in {b.port for b in read_bindings(config).bindings}
        farm.rig.close()
        after = {served.verdict for served in ask(farm).values()}
        assert after == {Verdict.NO_ANSWER}
    finally:
        farm.close()
