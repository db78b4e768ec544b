"""Every vendor's client that is installed can be imported."""

import importlib

for module in (
    "akeyless",
    "alibabacloud_kms20160120.client",
    "azure.identity",
    "azure.keyvault.certificates",
    "azure.keyvault.keys",
    "azure.keyvault.secrets",
    "bitwarden_sdk",
    "cloudsmith_api",
    "conjur_api",
    "delinea.secrets.server",
    "github",
    "gitlab",
    "google.auth",
    "google.cloud.secretmanager",
    "grafana_client",
    "infisical_sdk",
    "ngrok",
    "onepasswordconnectsdk",
    "sdkms.v1",
    "spnego",
):
    importlib.import_module(module)
