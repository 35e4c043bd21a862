"""`certshelf run` as a service of Windows: a script that makes a wrapper and registers it.

Never run on Windows yet: its text is parsed, and the contract with the wrapper (a closed input
means stop) is tested elsewhere.
"""

from __future__ import annotations

import re

from certshelf.errors import ConfigError
from certshelf.iis.powershell import comment, quote
from certshelf.manage.event_outputs import WINDOWS_SOURCE

ACCOUNT = r"NT SERVICE\certshelf"
"""A virtual account: no password, its own SID; on the network it is the machine's account."""
_ACCOUNT = re.compile(r"[\w .$@\\-]{1,104}")

_WRAPPER = r"""
using System;
using System.Diagnostics;
using System.ServiceProcess;

public class CertshelfService : ServiceBase {
    private readonly string python, home;
    private Process child;
    private volatile bool stopping;

    public CertshelfService(string python, string home) {
        this.python = python; this.home = home;
        ServiceName = "certshelf"; CanShutdown = true;
    }
    protected override void OnStart(string[] args) {
        var command = "-m certshelf --home \"" + home + "\" run --until-eof";
        var start = new ProcessStartInfo(python, command);
        start.WorkingDirectory = home;
        start.UseShellExecute = false;
        start.CreateNoWindow = true;
        start.RedirectStandardInput = true;
        child = new Process { StartInfo = start, EnableRaisingEvents = true };
        // an end that nobody asked for: the service's recovery begins anew
        child.Exited += delegate { if (!stopping) { Environment.Exit(1); } };
        child.Start();
    }
    protected override void OnStop() {
        stopping = true;
        RequestAdditionalTime(100000);
        child.StandardInput.Close();  // the sign to stop in order
        if (!child.WaitForExit(90000)) { child.Kill(); }
    }
    protected override void OnShutdown() { OnStop(); }
    public static void Main(string[] args) {
        ServiceBase.Run(new CertshelfService(args[0], args[1]));
    }
}
"""

_SCRIPT = """\
{about}
#Requires -RunAsAdministrator
#Requires -PSEdition Desktop
$ErrorActionPreference = 'Stop'
$python = {python}
$homeFolder = {home}
$account = {account}
$wrapper = Join-Path $homeFolder 'certshelf-service.exe'
$source = @'{code}'@

if (Get-Service -Name 'certshelf' -ErrorAction SilentlyContinue) {{
    Stop-Service -Name 'certshelf'
    & sc.exe delete certshelf | Out-Null
    if ($LASTEXITCODE -ne 0) {{ throw 'the old service cannot be removed' }}
}}
New-Item -ItemType Directory -Force -Path $homeFolder | Out-Null
$full = '*S-1-5-32-544:(OI)(CI)F', '*S-1-5-18:(OI)(CI)F'  # administrators, the system
& icacls.exe $homeFolder /inheritance:r /grant:r $full | Out-Null
if ($LASTEXITCODE -ne 0) {{ throw 'the rights of the home cannot be set' }}
if (Test-Path $wrapper) {{ Remove-Item -Force $wrapper }}
Add-Type -TypeDefinition $source -ReferencedAssemblies 'System.ServiceProcess' `
    -OutputAssembly $wrapper -OutputType WindowsApplication

$command = '"{{0}}" "{{1}}" "{{2}}"' -f $wrapper, $python, $homeFolder
New-Service -Name 'certshelf' -BinaryPathName $command -DisplayName 'certshelf' `
    -Description 'Keeps a shelf of certificates fresh' -StartupType Automatic | Out-Null
& sc.exe config certshelf obj= $account | Out-Null
if ($LASTEXITCODE -ne 0) {{ throw ('the service cannot run as ' + $account) }}
$again = 'restart/10000/restart/60000/restart/60000'
& sc.exe failure certshelf reset= 86400 actions= $again | Out-Null
& sc.exe sidtype certshelf unrestricted | Out-Null
& icacls.exe $homeFolder /grant ($account + ':(OI)(CI)M') | Out-Null
if ($LASTEXITCODE -ne 0) {{ throw ('no rights for ' + $account) }}

if (-not [Diagnostics.EventLog]::SourceExists({source})) {{
    New-EventLog -LogName 'Application' -Source {source}
}}
Start-Service -Name 'certshelf'
Get-Service -Name 'certshelf'
"""


def script(home: str, python: str, account: str = ACCOUNT) -> str:
    """A PowerShell script that makes and starts the service; safe to run again.

    home, python: absolute paths on that machine. account: a virtual or a managed service account;
    no password is ever in the script. ConfigError for what Windows cannot hold.
    """
    for path in (home, python):
        if '"' in path or not path.isprintable():
            raise ConfigError(f"no path on Windows: {path[:80]!r}")
    if not _ACCOUNT.fullmatch(account):
        raise ConfigError(f"no account of Windows: {account[:80]!r}", hint=r"DOMAIN\certshelf$")
    return _SCRIPT.format(
        about=comment("Makes the Windows service certshelf. Run it in Windows PowerShell 5.1."),
        python=quote(python),
        home=quote(home.rstrip("\\")),  # a last backslash would escape the quote after it
        account=quote(account),
        source=quote(WINDOWS_SOURCE),
        code=_WRAPPER,
    )
