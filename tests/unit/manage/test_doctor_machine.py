"""Secrets in the settings of tasks are found by place, and their values never said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.homes import manager_in
from tests.support.records import certificate

from certshelf.manage.doctor_machine import look_at_machine
from certshelf.manage.model import Task

CANARY = "hunter2"


def places(folder: Path, settings: dict[str, Any]) -> tuple[str, ...]:
    with manager_in(folder) as manager:
        with manager.database.write() as records:
            owner = records.certificates.add(certificate("shop"))
            records.tasks.add(Task(owner.id, "tell", "webhook", settings=settings))
        return look_at_machine(manager).config_secrets


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"password": CANARY}, "password"),
        ({"api-key": CANARY}, "api-key"),
        ({"headers": {"X-Token": CANARY}}, "headers.X-Token"),
        ({"url": f"https://hooks.example.com/?token={CANARY}"}, "url"),
        ({"url": f"https://user:{CANARY}@hooks.example.com/"}, "url"),
    ],
)
def test_a_secret_in_a_task_is_found_and_not_said(
    tmp_path: Path, settings: dict[str, Any], where: str
) -> None:
    assert places(tmp_path, settings) == (f"task tell of shop: {where}",)


@pytest.mark.parametrize(
    "settings",
    [
        {"password_credential": "share"},
        {"url": "https://hooks.example.com/renewed?site=1"},
        {"password": ""},
        {"names": ["token"]},
    ],
)
def test_the_name_of_a_credential_is_no_secret(tmp_path: Path, settings: dict[str, Any]) -> None:
    assert places(tmp_path, settings) == ()


def test_a_clock_that_is_ahead_is_seen_against_a_cas(tmp_path: Path) -> None:
    with manager_in(tmp_path) as manager:
        assert look_at_machine(manager, 3600.0).clock_off_seconds == 3600.0
        assert look_at_machine(manager, -90.0).clock_off_seconds == -90.0
