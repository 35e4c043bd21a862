"""The PowerShell that makes one server what its plan says, and the script that undoes it.

Safe to run again: each step looks first. `-WhatIf` shows the steps. Secrets are asked for when
the script runs, as SecureString, and are in no text. Never met a Windows machine: the cmdlets,
parameters and registry values are those of the pages named in docs/how-to/iis.md.
"""

# ruff: noqa: E501  # the long lines are PowerShell, where a break needs a backtick

from __future__ import annotations

from certshelf.iis.plan import ServerPlan
from certshelf.iis.powershell import Value, array, comment, quote, table

PROVIDER_KEY = r"HKLM:\SOFTWARE\Microsoft\IIS\CentralCertProvider"
# IIS Manager's own application id, as in KAUSHAL-CRL.
APP_ID = "{4dc3e181-e14b-4a21-b022-59fc669b0914}"
_BACKUP_FOLDER = r"certshelf\iis-backup"


def setup_script(plan: ServerPlan) -> str:
    """The whole script: feature, provider, polling, http.sys, bindings, conversion."""
    parts = [
        _head(plan),
        _FEATURE,
        _PROVIDER,
        _POLLING,
        _http_sys(),
        _bindings(plan),
        _conversion(plan),
        "Write-Output 'Done. Run the check script to see what IIS sees.'",
    ]
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def undo_script(plan: ServerPlan) -> str:
    """Put back the bindings that the newest (or the named) backup holds."""
    title = comment(f"Undo the conversion of bindings on {plan.server}.")
    return title + "\n" + _UNDO.replace("__FOLDER__", quote(_BACKUP_FOLDER))


def _head(plan: ServerPlan) -> str:
    left = [
        comment(
            f"Left alone: {item.binding.site} "
            f"{item.binding.address}:{item.binding.port}:{item.binding.host}: {item.why}"
        )
        for item in plan.left
    ]
    return "\n".join(
        [
            comment(f"Set up the Centralized Certificate Store on {plan.server}."),
            "# Safe to run again. Shows its steps with -WhatIf. Asks for secrets, holds none.",
            *left,
            _PARAMETERS.strip("\n"),
            f"$Store = {quote(plan.store)}",
            f"$Reader = {quote(plan.reader)}",
            f"$PollingSeconds = {plan.polling_seconds}",
            f"$Ports = {array(plan.ports)}",
            f"$ProviderKey = {quote(PROVIDER_KEY)}",
        ]
    )


def _http_sys() -> str:
    return _HTTP_SYS.replace("__APPID__", quote(APP_ID))


def _bindings(plan: ServerPlan) -> str:
    if not plan.bindings:
        return ""
    rows: list[dict[str, Value]] = [
        {"Site": b.site, "HostName": b.host.unicode, "Port": b.port} for b in plan.bindings
    ]
    return _BINDINGS.replace("__ROWS__", table(rows))


def _conversion(plan: ServerPlan) -> str:
    if not plan.conversions:
        return ""
    rows: list[dict[str, Value]] = [
        {
            "Site": c.site,
            "Old": f"{c.address}:{c.port}:{c.host.unicode}",
            "New": f"*:{c.port}:{c.host.unicode}",
            "Address": c.address,
            "Port": c.port,
            "HostName": c.host.unicode,
        }
        for c in plan.conversions
    ]
    # The rows go in last: what they hold is anybody's, and nothing in it is replaced again.
    return _CONVERSION.replace("__FOLDER__", quote(_BACKUP_FOLDER)).replace("__ROWS__", table(rows))


_PARAMETERS = r"""
#Requires -Version 4.0
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess = $true)]
param(
    [System.Management.Automation.PSCredential] $ShareCredential,
    [System.Security.SecureString] $PfxPassword,
    [switch] $RenewPasswords
)
$ErrorActionPreference = 'Stop'
"""

_FEATURE = r"""
# 1. The feature (Server: Web-CertProvider; client Windows: IIS-CertProvider).
if (Get-Command -Name Install-WindowsFeature -ErrorAction SilentlyContinue) {
    if (-not (Get-WindowsFeature -Name Web-CertProvider).Installed) {
        if ($PSCmdlet.ShouldProcess($env:COMPUTERNAME, 'install the feature Web-CertProvider')) {
            $installed = Install-WindowsFeature -Name Web-CertProvider
            if ("$($installed.RestartNeeded)" -eq 'Yes') {
                Write-Warning 'Windows wants a restart. Restart it, then run this script again.'
                return
            }
        }
    }
}
else {
    $components = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\InetStp\Components' -ErrorAction SilentlyContinue
    if (-not $components -or $components.CertProvider -ne 1) {
        if ($PSCmdlet.ShouldProcess($env:COMPUTERNAME, 'enable the feature IIS-CertProvider')) {
            & dism.exe /Online /Enable-Feature /FeatureName:IIS-CertProvider /All /NoRestart
            if ($LASTEXITCODE -eq 3010) {
                Write-Warning 'Windows wants a restart. Restart it, then run this script again.'
                return
            }
            if ($LASTEXITCODE -ne 0) { throw "dism.exe ended with $LASTEXITCODE" }
        }
    }
}
"""

_PROVIDER = r"""
# 2. The provider: Enable- when it is off, Set- when it is on (Set- has no -Enabled and does not
#    enable). IIS keeps this in the registry of each server, not in its shared configuration.
$now = Get-ItemProperty -Path $ProviderKey -ErrorAction SilentlyContinue
$enabled = $now -and $now.Enabled -eq 1
$same = $enabled -and $now.CertStoreLocation -eq $Store -and $now.UserName -eq $Reader
if (-not $same -or $RenewPasswords) {
    if ($PSCmdlet.ShouldProcess($Store, 'let IIS read its certificates there')) {
        if (-not $ShareCredential) {
            $ShareCredential = Get-Credential -UserName $Reader -Message 'The account that IIS reads the shelf with'
        }
        if (-not $PfxPassword) {
            $PfxPassword = Read-Host -Prompt 'The one password of all PFX files' -AsSecureString
        }
        $verb = 'Enable'
        if ($enabled) { $verb = 'Set' }
        if (Get-Command -Name 'Enable-IISCentralCertProvider' -ErrorAction SilentlyContinue) {
            & "$verb-IISCentralCertProvider" -CertStoreLocation $Store -UserName $ShareCredential.UserName -Password $ShareCredential.Password -PrivateKeyPassword $PfxPassword
        }
        else {
            # Server 2012: only WebAdministration, and its cmdlets take plain text.
            Import-Module -Name WebAdministration
            $pfx = New-Object -TypeName System.Management.Automation.PSCredential -ArgumentList 'pfx', $PfxPassword
            $plainPfx = $pfx.GetNetworkCredential().Password
            $plainShare = $ShareCredential.GetNetworkCredential().Password
            & "$verb-WebCentralCertProvider" -CertStoreLocation $Store -UserName $ShareCredential.UserName -Password $plainShare -PrivateKeyPassword $plainPfx
        }
    }
}
"""

_POLLING = r"""
# 3. How often IIS looks for changed files, in seconds (300 when it is not set).
$now = Get-ItemProperty -Path $ProviderKey -ErrorAction SilentlyContinue
if ($now -and $now.PollingInterval -ne $PollingSeconds) {
    if ($PSCmdlet.ShouldProcess("$ProviderKey PollingInterval", "set to $PollingSeconds")) {
        Set-ItemProperty -Path $ProviderKey -Name PollingInterval -Type DWord -Value $PollingSeconds
    }
}
"""

_HTTP_SYS = r"""
# 4. One entry for each port in http.sys, however many sites there are. Error 183: it is there.
foreach ($port in $Ports) {
    if ($PSCmdlet.ShouldProcess("port $port", 'let http.sys ask the central store')) {
        $said = & netsh.exe http add sslcert "ccs=$port" "appid=$(__APPID__)"
        if ($LASTEXITCODE -ne 0 -and "$said" -notmatch '\b183\b') {
            throw "netsh could not add ccs=${port}: $said"
        }
    }
}
"""

_BINDINGS = r"""
# 5. Bindings: host name, all addresses, SNI and central store (sslFlags 3).
Import-Module -Name WebAdministration
$Wanted = __ROWS__
foreach ($want in $Wanted) {
    $information = '*:{0}:{1}' -f $want.Port, $want.HostName
    $found = Get-WebBinding -Name $want.Site -Protocol https | Where-Object { $_.bindingInformation -eq $information }
    if ($found) {
        if ([int]$found.sslFlags -ne 3) {
            Write-Warning ('{0} {1} has a certificate of its own (sslFlags {2}); it is left alone.' -f $want.Site, $information, $found.sslFlags)
        }
        continue
    }
    if ($PSCmdlet.ShouldProcess($want.Site, "add the binding $information")) {
        New-WebBinding -Name $want.Site -Protocol https -IPAddress '*' -Port $want.Port -HostHeader $want.HostName -SslFlags 3
    }
}
"""

_CONVERSION = r"""
# 6. Bindings with a certificate of their own move to the store. What was there is saved first;
#    the undo script puts it back.
Import-Module -Name WebAdministration
$Convert = __ROWS__
$folder = Join-Path -Path $env:ProgramData -ChildPath __FOLDER__
$stamp = Get-Date -Format 'yyyyMMdd-HHmmss'
$saved = @()
$todo = @()
foreach ($item in $Convert) {
    $found = Get-WebBinding -Name $item.Site -Protocol https | Where-Object { $_.bindingInformation -eq $item.Old -and ([int]$_.sslFlags -band 2) -eq 0 }
    if (-not $found) { continue }
    $todo += $item
    $saved += [pscustomobject]@{
        Site = $item.Site
        Old = $item.Old
        New = $item.New
        Address = $item.Address
        Port = $item.Port
        HostName = $item.HostName
        SslFlags = [int]$found.sslFlags
        CertificateHash = "$($found.certificateHash)"
        CertificateStoreName = "$($found.certificateStoreName)"
    }
}
if ($saved.Count -gt 0) {
    if ($PSCmdlet.ShouldProcess($folder, "save $($saved.Count) bindings")) {
        New-Item -Path $folder -ItemType Directory -Force | Out-Null
        Backup-WebConfiguration -Name "certshelf-$stamp" | Out-Null
        $file = Join-Path -Path $folder -ChildPath "bindings-$stamp.json"
        ConvertTo-Json -InputObject @($saved) | Set-Content -Path $file -Encoding UTF8
        Write-Output "Saved to $file"
    }
    elseif (-not $WhatIfPreference) {
        throw 'Bindings are not moved without a backup.'
    }
}
foreach ($item in $todo) {
    if (-not $PSCmdlet.ShouldProcess($item.Site, "move $($item.Old) to the central store")) { continue }
    $old = Get-WebBinding -Name $item.Site -Protocol https | Where-Object { $_.bindingInformation -eq $item.Old }
    if ($item.Old -eq $item.New) {
        # The http.sys entry of the host name would win over the store: it goes first.
        $old.RemoveSslCertificate()
        Set-WebBinding -Name $item.Site -BindingInformation $item.Old -PropertyName sslFlags -Value 3
    }
    else {
        $new = Get-WebBinding -Name $item.Site -Protocol https | Where-Object { $_.bindingInformation -eq $item.New }
        if (-not $new) {
            New-WebBinding -Name $item.Site -Protocol https -IPAddress '*' -Port $item.Port -HostHeader $item.HostName -SslFlags 3
        }
        $old | Remove-WebBinding
    }
}
# An entry for IP:port that no binding needs any more would hide the store from every site.
foreach ($item in $todo) {
    $address = $item.Address
    if ($address -eq '*') { $address = '0.0.0.0' }
    $users = Get-WebBinding -Protocol https | Where-Object { ([int]$_.sslFlags -band 3) -eq 0 -and $_.bindingInformation.StartsWith("$($item.Address):$($item.Port):") }
    if (-not $users -and $PSCmdlet.ShouldProcess("${address}:$($item.Port)", 'remove the http.sys entry that no binding uses')) {
        & netsh.exe http delete sslcert "ipport=${address}:$($item.Port)" | Out-Null
    }
}
"""

_UNDO = r"""#Requires -Version 4.0
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess = $true)]
param([string] $Backup)
$ErrorActionPreference = 'Stop'
Import-Module -Name WebAdministration
if (-not $Backup) {
    $folder = Join-Path -Path $env:ProgramData -ChildPath __FOLDER__
    $newest = Get-ChildItem -Path $folder -Filter 'bindings-*.json' | Sort-Object -Property Name | Select-Object -Last 1
    if (-not $newest) { throw "there is no backup in $folder" }
    $Backup = $newest.FullName
}
$items = ConvertFrom-Json -InputObject (Get-Content -Path $Backup -Raw -Encoding UTF8)
foreach ($item in $items) {
    $there = Get-WebBinding -Name $item.Site -Protocol https | Where-Object { $_.bindingInformation -eq $item.Old -and [int]$_.sslFlags -eq $item.SslFlags }
    if ($there) { continue }
    if (-not $PSCmdlet.ShouldProcess($item.Site, "put back $($item.Old)")) { continue }
    $central = Get-WebBinding -Name $item.Site -Protocol https | Where-Object { $_.bindingInformation -eq $item.New -and ([int]$_.sslFlags -band 2) -eq 2 }
    if ($central) { $central | Remove-WebBinding }
    New-WebBinding -Name $item.Site -Protocol https -IPAddress $item.Address -Port $item.Port -HostHeader $item.HostName -SslFlags $item.SslFlags
    if ($item.CertificateHash) {
        $restored = Get-WebBinding -Name $item.Site -Protocol https | Where-Object { $_.bindingInformation -eq $item.Old }
        $restored.AddSslCertificate($item.CertificateHash, $item.CertificateStoreName)
    }
}
Write-Output "Put back from $Backup"
"""
