"""The exact commands that make a share for a shelf: PowerShell for Windows, a shell for Samba.

One writer may modify, readers may read, administrators keep it, nobody else gets in; the share
insists on encryption; old versions are the writer's alone. Text only: nothing is run here.
Sources: New-SmbShare, Grant-SmbShareAccess, DirectorySecurity (learn.microsoft.com); smb.conf(5).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from certshelf.errors import ConfigError
from certshelf.iis.powershell import array, quote

_ADMIN = "certshelf-admin"  # sets the rights on a Samba share, and does nothing else


@dataclass(frozen=True, slots=True)
class SharePlan:
    """What to make. path: on the file server. writer, readers: accounts or groups there.

    A writer that ends in `$` is a machine (certshelf as Local System reaches a share as its
    machine's account): it is put into a group, so that a new machine is a change of the group.
    """

    name: str
    path: str
    writer: str
    readers: Sequence[str]
    group: str = "certshelf-writers"

    def checked(self) -> SharePlan:
        """Itself, or ConfigError for a value that no command can hold."""
        values = (self.name, self.path, self.writer, self.group, *self.readers)
        for value in values:
            if not value or not value.isprintable() or len(value) > 256:
                raise ConfigError(f"cannot plan a share with {value[:80]!r}")
        if any(c in self.name for c in '\\/[]:|<>+=;,*?"%'):
            raise ConfigError(f"no name for a share: {self.name[:80]!r}")
        if not self.readers or self.writer.casefold() in {r.casefold() for r in self.readers}:
            raise ConfigError(
                "a share needs one writer and at least one other account that reads",
                hint="make two accounts: the writer's password never goes to a web server",
            )
        return self


def windows_plan(plan: SharePlan) -> str:
    """A PowerShell script for an administrator of the Windows file server. Safe to repeat."""
    plan.checked()
    machine = plan.writer.endswith("$")
    lines = [*_HEAD.splitlines(), ""]
    if machine:
        lines += [*_group(plan), ""]
    domain = plan.writer.rpartition("\\")[0]
    group = f"{domain}\\{plan.group}" if domain else plan.group
    values = {
        "share": quote(plan.name),
        "path": quote(plan.path),
        "writer": quote(group if machine else plan.writer),
        "readers": array(plan.readers),
    }
    lines += [f"${key:<8}= {value}" for key, value in values.items()]
    return "\n".join([*lines, *_BODY.splitlines(), ""])


def _group(plan: SharePlan) -> list[str]:
    """Commands for a domain controller: a machine's account goes into a group."""
    member = plan.writer.rpartition("\\")[2]
    return [
        "# Once, with the ActiveDirectory module: the writer is a machine, so use a group.",
        f"# New-ADGroup -Name {quote(plan.group)} -GroupScope DomainLocal -GroupCategory Security",
        f"# Add-ADGroupMember -Identity {quote(plan.group)} -Members {quote(member)}",
        "# Then restart that machine: it learns of its groups when it starts.",
    ]


_HEAD = """\
# Run in an elevated PowerShell on the file server (not on the server of the web content).
$ErrorActionPreference = 'Stop'"""

_BODY = """\
$history = Join-Path (Join-Path $path '.certshelf') 'history'
New-Item -ItemType Directory -Force -Path $path, $history | Out-Null
(Get-Item -LiteralPath (Join-Path $path '.certshelf') -Force).Attributes = 'Hidden, Directory'

# NTFS: administrators and the system keep it, the writer modifies, readers read, nobody else.
# OWNER RIGHTS (S-1-3-4) takes from the writer the right to change the list of its own files.
function Set-ShelfRights($folder, $readers) {
    $list = New-Object Security.AccessControl.DirectorySecurity
    $list.SetAccessRuleProtection($true, $false)
    $all = 'ContainerInherit, ObjectInherit'
    $entries = @(
        @((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'), 'FullControl', 'None'),
        @((New-Object Security.Principal.SecurityIdentifier 'S-1-5-18'), 'FullControl', 'None'),
        @((New-Object Security.Principal.NTAccount $writer), 'Modify', 'None'),
        @((New-Object Security.Principal.SecurityIdentifier 'S-1-3-4'), 'Modify', 'InheritOnly')
    )
    foreach ($reader in $readers) {
        $entries += ,@((New-Object Security.Principal.NTAccount $reader), 'ReadAndExecute', 'None')
    }
    foreach ($entry in $entries) {
        $list.AddAccessRule((New-Object Security.AccessControl.FileSystemAccessRule(
            $entry[0], $entry[1], $all, $entry[2], 'Allow')))
    }
    $list.SetOwner((New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544'))
    Set-Acl -LiteralPath $folder -AclObject $list
}
Set-ShelfRights $history @()
Set-ShelfRights $path $readers

# The share: encrypted, not cached on clients, who may not read does not see.
$admins = (New-Object Security.Principal.SecurityIdentifier 'S-1-5-32-544').Translate(
    [Security.Principal.NTAccount]).Value
if (Get-SmbShare -Name $share -ErrorAction SilentlyContinue) {
    Set-SmbShare -Name $share -EncryptData $true -CachingMode None `
        -FolderEnumerationMode AccessBased -Force
    Get-SmbShareAccess -Name $share | ForEach-Object {
        Revoke-SmbShareAccess -Name $share -AccountName $_.AccountName -Force | Out-Null
    }
    Grant-SmbShareAccess -Name $share -AccountName $admins -AccessRight Full -Force | Out-Null
    Grant-SmbShareAccess -Name $share -AccountName $writer -AccessRight Change -Force | Out-Null
    Grant-SmbShareAccess -Name $share -AccountName $readers -AccessRight Read -Force | Out-Null
} else {
    New-SmbShare -Name $share -Path $path -EncryptData $true -CachingMode None `
        -FolderEnumerationMode AccessBased -FullAccess $admins -ChangeAccess $writer `
        -ReadAccess $readers | Out-Null
}
# For all shares of this server, so look first who would be shut out:
# Set-SmbServerConfiguration -RejectUnencryptedAccess $true -RequireSecuritySignature $true

# Look at what came out; then, from the manager: certshelf share check
Get-SmbShare -Name $share | Format-List -Property @('Name', 'Path', 'EncryptData')
Get-SmbShareAccess -Name $share | Format-Table -Property @('AccountName', 'AccessRight')
icacls $path
icacls $history"""


def samba_plan(plan: SharePlan) -> str:
    """A shell script for root on the Samba server, with the smb.conf section in it."""
    plan.checked()
    accounts = (plan.writer, *plan.readers)
    for account in accounts:
        if not account.isascii() or any(c in account for c in '\\"%@+&,$ ') or account[0] == "-":
            raise ConfigError(
                f"no account of a Samba server: {account[:80]!r}",
                hint="local accounts, without a domain and without spaces",
            )
    if "%" in plan.path or not plan.path.startswith("/"):
        raise ConfigError(f"no folder for a Samba share: {plan.path[:80]!r}")
    return "\n".join([*_samba_commands(plan), *_samba_conf(plan)]) + "\n"


def _samba_commands(plan: SharePlan) -> list[str]:
    group = "certshelf-share"
    path = plan.path.rstrip("/")
    lines = ["#!/bin/sh", "# Run as root on the Samba server. Safe to repeat.", "set -eu"]
    lines.append(f"getent group {group} >/dev/null || groupadd --system {group}")
    for account in (_ADMIN, plan.writer, *plan.readers):
        name = shlex.quote(account)
        lines.append(
            f"id -u {name} >/dev/null 2>&1 ||"
            f" useradd --system --no-create-home --shell /usr/sbin/nologin {name}"
        )
        lines.append(f"usermod -a -G {group} {name}")
    return [
        *lines,
        "# The Windows access list decides; other users of this machine do not get past the first.",
        f"install -d -m 0710 -o root -g {group} {shlex.quote(path)}",
        f"install -d -m 0777 -o root -g root {shlex.quote(path + '/shelf')}",
        "# Each asks for a password: long and random; the same for: certshelf credential set NAME",
        *(f"smbpasswd -a {shlex.quote(name)}" for name in (_ADMIN, plan.writer, *plan.readers)),
    ]


def _samba_conf(plan: SharePlan) -> list[str]:
    accounts = (_ADMIN, plan.writer, *plan.readers)
    grants = " ".join(f"--reader {shlex.quote(reader)}" for reader in plan.readers)
    return [
        "# Add to [global] in /etc/samba/smb.conf:",
        "#   server min protocol = SMB3",
        "#   server signing = mandatory",
        "#   map to guest = never",
        "#   restrict anonymous = 2",
        f"grep -qxF {shlex.quote(f'[{plan.name}]')} /etc/samba/smb.conf ||",
        "cat >> /etc/samba/smb.conf <<'END'",
        f"[{plan.name}]",
        f"   path = {plan.path.rstrip('/')}/shelf",
        "   server smb encrypt = required",
        "   read only = no",
        "   guest ok = no",
        f"   valid users = {' '.join(accounts)}",
        f"   admin users = {_ADMIN}",
        "   vfs objects = acl_xattr",
        "   acl_xattr:ignore system acls = yes",
        "   inherit acls = yes",
        "   map acl inherit = yes",
        "   store dos attributes = yes",
        "   hide dot files = no",
        "   follow symlinks = no",
        "END",
        "testparm -s >/dev/null && smbcontrol all reload-config",
        "# Then, from the manager, who may do what:",
        f"# certshelf share grant {grants} --writer {shlex.quote(plan.writer)} --login {_ADMIN}",
        "# certshelf share check --reader-login NAME",
    ]
