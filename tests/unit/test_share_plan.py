"""The commands that `share plan` prints: every value stays a value."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.powershell import syntax_errors
from tests.support.samba import CONF as RIG

from certshelf.errors import ConfigError
from certshelf.iis.share import SharePlan, samba_plan, windows_plan

PLAN = SharePlan("certs", r"D:\certs", r"CORP\svc-certshelf", [r"CORP\svc-iis-certs"])
SAMBA = SharePlan("certs", "/srv/certs", "certshelf", ["iis-reader", "nginx-reader"])


def test_windows_gets_an_encrypted_share_with_one_writer_and_one_reader() -> None:
    script = windows_plan(PLAN)
    assert "-EncryptData $true" in script
    assert "$writer  = 'CORP\\svc-certshelf'" in script
    assert "$readers = @('CORP\\svc-iis-certs')" in script
    assert "Everyone" not in script


def test_the_script_is_ascii_so_that_every_powershell_reads_it_alike() -> None:
    script = windows_plan(SharePlan("certs", "D:\\Zertifikate \u2019x", "w\u00f6", ["r\u2018"]))
    assert script.isascii()


def test_a_value_cannot_end_its_quotes() -> None:
    evil = "w'; Remove-Item C:\\ #"
    script = windows_plan(SharePlan("certs", "D:\\c", evil, ["r"]))
    assert "'w''; Remove-Item C:\\ #'" in script


def test_a_machine_as_the_writer_goes_into_a_group() -> None:
    script = windows_plan(SharePlan("certs", "D:\\c", "CORP\\MANAGER$", ["CORP\\r"]))
    assert "$writer  = 'CORP\\certshelf-writers'" in script
    assert "Add-ADGroupMember -Identity 'certshelf-writers' -Members 'MANAGER$'" in script


@pytest.mark.parametrize(
    "wrong",
    [
        SharePlan("a/b", "D:\\c", "w", ["r"]),
        SharePlan("c", "D:\\c", "w", []),
        SharePlan("c", "D:\\c", "w", ["W"]),
        SharePlan("c", "D:\\c\nx", "w", ["r"]),
        SharePlan("c", "", "w", ["r"]),
    ],
)
def test_what_no_command_can_hold_is_refused(wrong: SharePlan) -> None:
    for print_plan in (windows_plan, samba_plan):
        with pytest.raises(ConfigError):
            print_plan(wrong)


@pytest.mark.parametrize("account", ["a b", "x;y$(z)$", "@all", "-u", "CORP\\x", "a%U"])
def test_samba_gets_plain_accounts_only(account: str) -> None:
    with pytest.raises(ConfigError):
        samba_plan(SharePlan("c", "/srv/c", account, ["r"]))


def test_samba_s_own_check_and_the_shell_accept_the_plan(tmp_path: Path) -> None:
    if shutil.which("testparm") is None:
        pytest.skip("no testparm here: apt-get install samba")
    script = samba_plan(SAMBA)
    assert subprocess.run(["sh", "-n"], input=script.encode(), check=False).returncode == 0
    section = script.split("<<'END'\n")[1].split("END\n")[0]
    conf = tmp_path / "smb.conf"
    conf.write_text("[global]\n  server min protocol = SMB3\n" + section)
    shown = subprocess.run(
        ["testparm", "-s", str(conf)], capture_output=True, text=True, check=True
    )
    assert "Unknown parameter" not in shown.stderr
    assert "smb encrypt = required" in shown.stdout
    assert "admin users = certshelf-admin" in shown.stdout


def test_the_samba_share_is_the_one_that_the_tests_run_on() -> None:
    """What a real smbd is tried with is what users are told to set up."""
    section = RIG.partition("[certs]\n")[2].splitlines()
    tried = {line.strip() for line in section if line.strip() and "{" not in line}
    tried.remove("acl_xattr:security_acl_name = user.NTACL")  # a sandbox allows no other
    assert tried <= {line.strip() for line in samba_plan(SAMBA).splitlines()}


def test_powershell_s_grammar_accepts_the_script() -> None:
    accounts = SharePlan("certs", "D:\\it's", "CORP\\M\u2019$", ["r\u00f6", "a'b"])
    for plan in (PLAN, accounts):
        assert syntax_errors(windows_plan(plan)) == []
