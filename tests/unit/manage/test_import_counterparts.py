"""What other tools' challenges and hooks become here, and what stays to be done by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from certshelf.deploy.triggers import Phase
from certshelf.manage.importing import acmesh, certbot, certify_json, counterparts, winacme
from certshelf.manage.importing.base import Found
from certshelf.manage.importing.plan import plan_import
from certshelf.manage.model import ChallengeChoice
from certshelf.manage.settings import CertificateSettings
from certshelf.names import HostName

GOLDEN = Path(__file__).parents[2] / "golden" / "importing"
HOSTS = [HostName.parse("www.shop.test"), HostName.parse("*.shop.test")]


# --- hooks


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("systemctl reload nginx", {"name": "nginx", "action": "reload"}),
        ("/bin/systemctl restart a@b.service", {"name": "a@b.service", "action": "restart"}),
        ("service nginx force-reload", {"name": "nginx", "action": "reload-or-restart"}),
    ],
)
def test_a_hook_that_reloads_a_service_is_a_task(command: str, settings: object) -> None:
    task, _ = counterparts.hook("renew_hook", command, Phase.AFTER)
    assert task is not None
    assert (task.kind, task.settings, task.phase) == ("service", settings, Phase.AFTER)


@pytest.mark.parametrize(
    "command",
    [
        *("/usr/local/bin/deploy.sh", "systemctl reload nginx && rm -rf /", "systemctl stop nginx"),
        *("systemctl reload 'a\nb'", "systemctl reload $(touch /tmp/x)", "systemctl reload", "'"),
        *("systemctl reload --now", "curl http://x | sh", "nginx -s reload"),
    ],
)
def test_any_other_hook_is_named_and_never_taken_over(command: str) -> None:
    task, note = counterparts.hook("post_hook", command, Phase.AFTER)
    assert task is None
    assert note.startswith("to do by hand: its post_hook ran ")
    assert "\n" not in note


# --- challenges


@pytest.mark.parametrize("port", ["\N{SUPERSCRIPT TWO}", "9" * 5000, "65536", "-1", "0", "x"])
def test_a_port_that_is_none_is_to_do_by_hand(port: str) -> None:
    choices, (note,) = counterparts.own_http01(port)
    assert (choices, note[:15]) == ((), "to do by hand: ")
    (choice,), _ = counterparts.rfc2136(HOSTS, "192.0.2.1", port, "k", "hmac-sha256")
    assert choice.settings["server"] == "192.0.2.1:53"


def test_a_web_root_for_each_host_is_a_choice_for_each() -> None:
    choices, _ = counterparts.webroots({"a.test": "/srv/a", "b.test": "/srv/b"})
    assert [(c.pattern, c.settings["webroot"]) for c in choices] == [
        ("a.test", "/srv/a"),
        ("b.test", "/srv/b"),
    ]
    choices, _ = counterparts.webroots({"a.test": "/srv/a", "b.test": "/srv/a"})
    assert [c.pattern for c in choices] == ["*"]
    assert counterparts.webroots({"a.test": "relative"})[0] == ()


def test_a_provider_with_one_token_is_lexicons_and_names_its_credential() -> None:
    (choice,), notes = counterparts.dns_provider(HOSTS, "cloudflare")
    assert choice.settings == {"dns": "lexicon", "provider": "cloudflare", "zone": "shop.test"}
    assert choice.credential == "dns-cloudflare"
    assert "credential set dns-cloudflare --kind token" in notes[-1]
    choices, (note,) = counterparts.dns_provider(HOSTS, "unknown")
    assert choices == ()
    assert note.startswith("to do by hand: ")


@pytest.mark.parametrize(
    ("hosts", "zone"),
    [
        (["www.shop.test", "shop.test"], "shop.test"),
        (["*.api.shop.test", "api.shop.test"], "shop.test"),
        (["www.shop.test"], "shop.test"),
        (["a.shop.test", "b.shop.test"], "shop.test"),
        (["a.test", "b.example"], ""),
    ],
)
def test_the_zone_is_what_the_hosts_have_in_common(hosts: list[str], zone: str) -> None:
    assert counterparts.zone_of(list(map(HostName.parse, hosts))) == zone


def test_names_without_a_common_zone_are_left_to_be_done_by_hand() -> None:
    hosts = [HostName.parse("a.test"), HostName.parse("b.example")]
    for choices, (note,) in (
        counterparts.dns_provider(hosts, "cloudflare"),
        counterparts.rfc2136(hosts, "192.0.2.1", "53", "k", "hmac-sha256"),
    ):
        assert choices == ()
        assert note.startswith("to do by hand: its names are proved by dns-01")


def test_a_weak_tsig_key_is_left_to_be_done_by_hand() -> None:
    choices, (note,) = counterparts.rfc2136(HOSTS, "192.0.2.1", "53", "k", "HMAC-MD5")
    assert choices == ()
    assert "HMAC-MD5" in note


# --- certbot


def renewal(folder: Path, options: str) -> Found:
    (folder / "renewal").mkdir(exist_ok=True)
    text = f"[renewalparams]\n{options}\n[[webroot_map]]\n"
    hosts = "www.shop.test = /srv/a\nshop.test = /srv/a\n"
    (folder / "renewal/www.shop.test.conf").write_text(text + hosts)
    (one,) = certbot.read(folder)
    return one


def test_certbots_standalone_and_webroot_are_http_01(tmp_path: Path) -> None:
    alone = renewal(tmp_path, "authenticator = standalone\nhttp01_port = 8080")
    assert [choice.settings for choice in alone.choices] == [{"port": "8080"}]
    folder = renewal(tmp_path, "authenticator = webroot")
    assert [choice.settings for choice in folder.choices] == [{"webroot": "/srv/a"}]


def test_certbots_rfc2136_file_below_its_folder_gives_server_and_key(tmp_path: Path) -> None:
    folder = tmp_path / "letsencrypt"
    folder.mkdir()
    ini = "dns_rfc2136_server = 192.0.2.53\ndns_rfc2136_name = key.\ndns_rfc2136_secret = s3cret\n"
    (folder / "ini").write_text(ini + "dns_rfc2136_algorithm = HMAC-SHA512\n")
    (tmp_path / "ini").write_text(ini)
    way = "authenticator = dns-rfc2136\ndns_rfc2136_credentials = "
    www = renewal(folder, way + "/etc/letsencrypt/ini")
    (choice,) = www.choices
    assert choice.settings == {
        "dns": "rfc2136",
        "server": "192.0.2.53:53",
        "zone": "shop.test",
        "algorithm": "hmac-sha512",
    }
    assert choice.credential == "tsig-key"
    assert "credential set tsig-key --kind tsig --username key." in www.notes[-1]
    assert "s3cret" not in repr(www)
    for elsewhere in ("/srv/ini", "/etc/letsencrypt/../ini", f"{tmp_path}/ini", ""):
        assert renewal(folder, way + elsewhere).choices == (), elsewhere


def test_certbots_hooks_are_tasks_or_to_do_by_hand(tmp_path: Path) -> None:
    hooks = "pre_hook = None\nrenew_hook = systemctl reload nginx\npost_hook = /usr/bin/mine"
    www = renewal(tmp_path, f"authenticator = apache\n{hooks}")
    assert [task.name for task in www.tasks] == ["reload-nginx"]
    assert sum(note.startswith("to do by hand: ") for note in www.notes) == 2


# --- acme.sh


@pytest.mark.skipif(sys.platform == "win32", reason="acme.sh is for POSIX shells")
def test_acme_shs_dns_script_is_called_with_its_own_functions(tmp_path: Path) -> None:
    """A stand-in with the functions of acme.sh 3 that the wrapper needs."""
    (tmp_path / "dnsapi").mkdir()
    (tmp_path / "acme.sh").write_text('_initpath() { TOKEN=kept; }\n[ -z "$1" ] || exit 9\n')
    (tmp_path / "dnsapi/dns_x.sh").write_text(
        'dns_x_add() { echo "add $1 $2 $TOKEN"; }\ndns_x_rm() { echo "rm $1 $2"; return 3; }\n'
    )
    command = counterparts.acme_sh_argv(tmp_path, "dns_x")

    def call(action: str) -> tuple[int, str]:
        argv = [*command, action, "_acme-challenge.a.test.", "v-1"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        return done.returncode, done.stdout.strip()

    assert call("present") == (0, "add _acme-challenge.a.test v-1 kept")
    assert call("cleanup") == (3, "rm _acme-challenge.a.test v-1")


def test_a_name_that_is_no_dns_script_is_in_no_command(tmp_path: Path) -> None:
    for script in ("dns_../x", "dns_x;id", "dns_", "dns_x\ny"):
        choices, (note,) = counterparts.acme_sh_script(tmp_path, script)
        assert (choices, "--dns-command" in note) == ((), False), script


def test_no_program_of_an_imported_folder_is_run_before_the_administrator_says_so() -> None:
    api, _ = acmesh.read(GOLDEN / "acmesh")
    (change,) = plan_import([api], [], [], CertificateSettings())
    assert change.wish is not None
    assert change.wish.challenges == ()
    (note,) = [note for note in change.notes if "its names" in note]
    assert note.startswith("to do by hand: its names are proved by dns-01 (dns_none); when you")
    assert note.endswith(" --dns-command dns_none")


def test_acme_shs_ways_and_reload_command_have_counterparts() -> None:
    _, old = acmesh.read(GOLDEN / "acmesh")
    assert [choice.settings for choice in old.choices] == [{"webroot": "/var/www/html"}]
    assert [task.settings for task in old.tasks] == [{"name": "nginx", "action": "reload"}]


# --- win-acme and Certify


def test_win_acmes_plugins_give_their_counterparts(tmp_path: Path) -> None:
    def read(validation: dict[str, object]) -> Found:
        target = {"CommonName": "www.shop.test"}
        options = {"TargetPluginOptions": target, "ValidationPluginOptions": validation}
        (tmp_path / "a.renewal.json").write_text(json.dumps(options))
        (one,) = winacme.read(tmp_path)
        return one

    port = read({"Plugin": "c7d5e050-9363-4ba1-b3a8-931b31c618b7", "Port": 8080})
    assert port.choices[0].settings == {"port": "8080"}
    folder = r"C:\inetpub\wwwroot"
    files = read({"Plugin": "1c77b3a4-5310-4c46-92c6-00d866e84d6b", "Path": folder})
    assert files.choices[0].settings == {"webroot": folder}
    dns = {"ServerHost": "192.0.2.1", "TsigKeyName": "k", "TsigKeyAlgorithm": "hmac-sha256"}
    update = read({"Plugin": "ed5dc9d1-739c-4f6a-854f-238bf65b63ee", **dns})
    assert update.choices[0].settings["server"] == "192.0.2.1:53"


def test_certifys_provider_and_service_task_have_counterparts(tmp_path: Path) -> None:
    document = json.loads((GOLDEN / "certify" / "export.json").read_text())
    item = document["Content"]["ManagedCertificates"][0]
    values = [{"Key": "servicename", "Value": "W3SVC"}, {"Key": "action", "Value": "restart"}]
    kind = "Certify.Providers.DeploymentTasks.ServiceManager"
    local = {"TaskTypeId": kind, "Parameters": values}
    other = {**local, "ChallengeProvider": "Certify.StandardChallenges.Windows"}
    item["PostRequestTasks"] += [local, other, {"TaskTypeId": "X.Script", "TaskName": "mine"}]
    (tmp_path / "e.json").write_text(json.dumps(document))
    shop, _ = certify_json.read(tmp_path / "e.json")
    assert shop.choices[0].settings["provider"] == "cloudflare"
    assert [task.settings for task in shop.tasks] == [{"name": "W3SVC", "action": "restart"}]
    assert sum(note.startswith("to do by hand: its task") for note in shop.notes) == 2


# --- the plan


def test_what_is_taken_over_is_in_the_plan_and_the_rest_is_to_do_by_hand() -> None:
    task, note = counterparts.hook("renew_hook", "systemctl reload nginx", Phase.AFTER)
    assert task is not None
    choice = ChallengeChoice("http-01", settings={"webroot": "/srv/a"})
    host = (HostName.parse("a.test"),)
    one = Found("a.test", host, choices=(choice,), tasks=(task,), notes=(note,))
    (change,) = plan_import([one], [], [], CertificateSettings())
    assert change.wish is not None
    assert (change.wish.challenges, change.tasks) == ((choice,), (task,))
    other = Found("a.test", host, challenge="dns-01 dns_x")
    (change,) = plan_import([other], [], [], CertificateSettings())
    assert change.notes[0].startswith("to do by hand: its names are proved by dns-01 (dns_x)")
