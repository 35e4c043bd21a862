"""Programs that stand in for systemctl and pwsh on the PATH, and manage or read something real."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

SYSTEMCTL = """\
import json, os, pathlib, signal, subprocess, sys, time
home = pathlib.Path(__file__).parent
options, verb, dashes, unit = sys.argv[1:]
assert (options, dashes) == ("--no-ask-password", "--"), sys.argv
folder = home / "units" / unit
if not folder.is_dir():
    sys.exit(f"Failed to {verb} {unit}: Unit {unit} not found.")
pid_file, how = folder / "pid", (folder / "how").read_text()
with (folder / "asked").open("a") as asked:
    asked.write(verb + "\\n")
def running():
    try:
        os.kill(int(pid_file.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True
if verb == "is-active":
    print("active" if running() else "failed")
    sys.exit(0 if running() else 3)
if how == "hangs":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    time.sleep(600)
if how == "fails":
    sys.exit(f"Job for {unit} failed because the control process exited with error code.")
if running():
    os.kill(int(pid_file.read_text()), signal.SIGKILL)
code = "import time; time.sleep(600)" if how == "starts" else ""
child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True,
                         stdin=-3, stdout=-3, stderr=-3)
pid_file.write_text(str(child.pid))
if how == "dies":
    child.wait()
"""

PWSH = """\
import base64, json, pathlib, sys
*options, encoded = sys.argv[1:]
assert options == ["-NoLogo", "-NoProfile", "-NonInteractive", "-EncodedCommand"], options
code = base64.b64decode(encoded).decode("utf-16-le")
told = json.load(sys.stdin)
pathlib.Path(__file__).with_name("seen.json").write_text(json.dumps({"code": code, "told": told}))
print("ran", told["script"])
"""


class StandIns:
    """A folder on the PATH with the programs that were asked for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        folder.mkdir()
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def program(self, name: str, code: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!{sys.executable}\n{code}")
        path.chmod(0o755)
        return path

    def unit(self, name: str, how: str) -> Path:
        """A unit that starts, fails, dies (comes up and ends at once) or hangs; its folder."""
        self.program("systemctl", SYSTEMCTL)
        folder = self.folder / "units" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "how").write_text(how)
        return folder

    def stop(self) -> None:
        """End every process that a unit started."""
        for file in self.folder.glob("units/*/pid"):
            try:
                os.kill(int(file.read_text()), 9)
            except (OSError, ValueError):
                continue
