"""A read-only PowerShell script that tells how one IIS server stands, as JSON.

It runs on the server itself and sees what only the server sees: registry, feature, http.sys,
bindings, whether the shelf opens for this account and for the reader's, whether a PFX opens with
the password. It changes nothing and puts no secret into its output. status.py reads what it says.
"""

# ruff: noqa: E501  # the long lines are PowerShell, where a break needs a backtick

from __future__ import annotations

from certshelf.iis.powershell import comment, quote
from certshelf.iis.scripts import PROVIDER_KEY

FORMAT = 1


def check_script(server: str = "") -> str:
    """The script; `-OutFile` keeps the answer, `-ReaderCredential` and `-PfxPassword` see more."""
    title = comment(
        f"Read-only check of the Centralized Certificate Store{' on ' + server if server else ''}."
    )
    body = _CHECK.replace("__KEY__", quote(PROVIDER_KEY)).replace("__FORMAT__", str(FORMAT))
    return title + "\n# Changes nothing; its output holds no secret.\n" + body.lstrip("\n")


_CHECK = r"""
#Requires -Version 4.0
[CmdletBinding()]
param(
    [System.Management.Automation.PSCredential] $ReaderCredential,
    [System.Security.SecureString] $PfxPassword,
    [int] $Sample = 20,
    [string] $OutFile
)
$ErrorActionPreference = 'Stop'
$ProviderKey = __KEY__

function Get-Said {
    param([scriptblock] $Block)
    try { [pscustomobject]@{ ok = $true; value = (& $Block); error = '' } }
    catch { [pscustomobject]@{ ok = $false; value = $null; error = "$($_.Exception.Message)" } }
}

$components = Get-ItemProperty -Path 'HKLM:\SOFTWARE\Microsoft\InetStp\Components' -ErrorAction SilentlyContinue
$provider = Get-ItemProperty -Path $ProviderKey -ErrorAction SilentlyContinue
$location = "$($provider.CertStoreLocation)"

# http.sys: one entry "ccs" for each port; an "ipport" entry on the same port wins over it.
$entries = @()
$kinds = @{ ipport = 'SslBindingInfo'; hostnameport = 'SslSniBindingInfo'; ccs = 'SslCcsBindingInfo' }
foreach ($kind in $kinds.Keys) {
    $path = 'HKLM:\SYSTEM\CurrentControlSet\Services\HTTP\Parameters\' + $kinds[$kind]
    if (Test-Path -Path $path) {
        foreach ($item in @(Get-ChildItem -Path $path)) {
            $entries += [pscustomobject]@{ kind = $kind; name = $item.PSChildName }
        }
    }
}

$bindings = Get-Said -Block {
    Import-Module -Name WebAdministration
    $rows = @()
    foreach ($site in @(Get-ChildItem -Path 'IIS:\Sites')) {
        foreach ($binding in $site.bindings.Collection) {
            if ($binding.protocol -eq 'https') {
                $rows += [pscustomobject]@{
                    site = $site.name
                    information = "$($binding.bindingInformation)"
                    flags = [int]$binding.sslFlags
                    thumbprint = "$($binding.certificateHash)"
                }
            }
        }
    }
    , $rows
}

# The shelf as this account sees it, and as the reader account does.
$self = Get-Said -Block {
    @(Get-ChildItem -LiteralPath $location -Filter '*.pfx' -File | Select-Object -ExpandProperty Name)
}
$reader = $null
if ($ReaderCredential) {
    $reader = Get-Said -Block {
        $drive = New-PSDrive -Name CertshelfCheck -PSProvider FileSystem -Root $location -Credential $ReaderCredential -Scope Script
        try { @(Get-ChildItem -Path 'CertshelfCheck:\' -Filter '*.pfx' -File).Count }
        finally { Remove-PSDrive -Name CertshelfCheck -Scope Script }
    }
}

# Get-PfxData reads a file without importing it.
$pfx = @()
if ($PfxPassword -and $self.ok) {
    foreach ($name in @($self.value | Select-Object -First $Sample)) {
        $said = Get-Said -Block {
            (Get-PfxData -FilePath (Join-Path -Path $location -ChildPath $name) -Password $PfxPassword).EndEntityCertificates[0].Thumbprint
        }
        $pfx += [pscustomobject]@{ file = $name; ok = $said.ok; thumbprint = "$($said.value)"; error = $said.error }
    }
}

$report = [pscustomobject]@{
    format = __FORMAT__
    server = $env:COMPUTERNAME
    account = [System.Security.Principal.WindowsIdentity]::GetCurrent().Name
    windows = [Environment]::OSVersion.Version.ToString()
    feature = ($components -and $components.CertProvider -eq 1)
    provider = [pscustomobject]@{
        enabled = ($provider -and $provider.Enabled -eq 1)
        location = $location
        user = "$($provider.UserName)"
        has_password = [bool]"$($provider.Password)"
        has_key_password = [bool]"$($provider.PrivateKeyPassword)"
        polling = $provider.PollingInterval
    }
    http_sys = $entries
    bindings = [pscustomobject]@{ ok = $bindings.ok; error = $bindings.error; rows = @($bindings.value) }
    store = [pscustomobject]@{ ok = $self.ok; error = $self.error; files = @($self.value).Count }
    reader = $reader
    pfx = $pfx
}
$text = ConvertTo-Json -InputObject $report -Depth 6
if ($OutFile) { Set-Content -Path $OutFile -Value $text -Encoding UTF8 } else { $text }
"""
