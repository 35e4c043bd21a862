"""Builds a Context from the plain tables of healthy.yaml."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from certshelf.bundle.model import PfxProfile
from certshelf.doctor.context import (
    CertificateFacts,
    ChallengeFacts,
    Context,
    CredentialFacts,
    FileFacts,
    IssuerFacts,
    ManagerFacts,
    PublishedFolder,
    ShelfFacts,
)
from certshelf.doctor.served import Expected, Failure, Seen, Served, judge, target
from certshelf.farm import Binding, Kind, Member
from certshelf.finding import Finding, Severity
from certshelf.names import HostName
from certshelf.shelf.rights import ShareRights
from certshelf.shelf.rights import judge as judge_share
from certshelf.store.acl import Ace, Descriptor

HERE = Path(__file__).parent
Tables = dict[str, Any]


def load(name: str) -> Tables:
    tables: Tables = yaml.safe_load((HERE / name).read_text(encoding="utf-8"))
    return tables


def broken(tables: Tables, fault: Mapping[str, Any]) -> Tables:
    """A copy with the fault's `set` and `add` done."""
    result = copy.deepcopy(tables)
    for path, value in fault.get("set", {}).items():
        holder, key = _at(result, path)
        holder[key] = value
    for path, value in fault.get("add", {}).items():
        holder, key = _at(result, path)
        holder[key].append(value)
    return result


def _at(tables: Any, path: str) -> tuple[Any, Any]:
    *outer, last = path.split(".")
    for key in outer:
        tables = tables[int(key)] if isinstance(tables, list) else tables[key]
    return tables, int(last) if isinstance(tables, list) else last


def context(tables: Tables) -> Context:
    members = tuple(Member(**{**m, "kind": Kind(m["kind"])}) for m in tables["members"])
    bindings = {
        name: tuple(Binding(**row) for row in rows) for name, rows in tables["bindings"].items()
    }
    files = tuple(_file(row, tables) for row in tables["files"])
    return Context(
        now=tables["now"],
        members=members,
        bindings=bindings,
        unread=tables["unread"],
        shelf=ShelfFacts(**tables["shelf"]),
        share=_share(tables["share"]),
        files=files,
        among_files=tuple(_finding(row) for row in tables["among_files"]),
        certificates=tuple(_certificate(row) for row in tables["certificates"]),
        issuers=tuple(IssuerFacts(**row) for row in tables["issuers"]),
        credentials=tuple(CredentialFacts(**row) for row in tables["credentials"]),
        challenges=tuple(ChallengeFacts(**row) for row in tables["challenges"]),
        manager=ManagerFacts(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in tables["manager"].items()}
        ),
        shelves=tuple(tables["shelves"]),
        published=tuple(PublishedFolder(**row) for row in tables["published"]),
        iis=tuple(_finding(row) for row in tables["iis"]),
        served=tuple(_served(row, tables, members, bindings, files) for row in tables["served"]),
    )


def _finding(row: Tables) -> Finding:
    return Finding(**{**row, "severity": Severity(row["severity"])})


def _file(row: Tables, tables: Tables) -> FileFacts:
    return FileFacts(
        **{
            "not_before": tables["certificates"][0]["not_after"].replace(month=5),
            "not_after": tables["certificates"][0]["not_after"],
            **row,
            "host": HostName.from_file_name(row["file"]),
            "names": tuple(map(HostName.parse, row["names"])),
            "profile": PfxProfile(row["profile"]),
        }
    )


def _share(row: Tables) -> tuple[Finding, ...]:
    aces = tuple(Ace(**ace) for ace in row["aces"]) if row["aces"] is not None else None
    rights = ShareRights(
        subject="smb://files/certs",
        encrypted=row["encrypted"],
        clear_for_some=row.get("clear_for_some", False),
        signed=row.get("signed", True),
        rights=Descriptor("S-1-5-32-544", aces, row["protected"]),
        writer=row["writer"],
        reader=row["reader"],
        accounts=frozenset(row["accounts"]),
    )
    return tuple(judge_share(rights))


def _certificate(row: Tables) -> CertificateFacts:
    more = {"hosts": tuple(map(HostName.parse, row["hosts"]))}
    return CertificateFacts(**{**row, **more, "strangers": tuple(row.get("strangers", ()))})


def _served(
    row: Tables,
    tables: Tables,
    members: tuple[Member, ...],
    bindings: Mapping[str, tuple[Binding, ...]],
    files: tuple[FileFacts, ...],
) -> Served:
    member = next(m for m in members if m.name == row["member"])
    name = HostName.parse(row["name"])
    file = next(f for f in files if f.file == row["file"])
    assert file.not_before and file.not_after
    expected = Expected(
        file.file, file.sha256, file.not_before, file.not_after, row.get("changed_at")
    )
    seen = _seen(row, member, name, file)
    return judge(
        seen,
        expected,
        tables["now"],
        default_sha256=row["default"],
        bindings=bindings.get(member.name, ()),
    )


def _seen(row: Tables, member: Member, name: HostName, file: FileFacts) -> Seen:
    where = target(member, name)
    sees = row.get("sees")
    if sees is None:
        return Seen(where, file.sha256, file.names, "", file.not_before, file.not_after)
    if "failure" in sees:
        return Seen(where, failure=Failure(sees["failure"]))
    return Seen(where, **{**sees, "names": tuple(map(HostName.parse, sees["names"]))})
