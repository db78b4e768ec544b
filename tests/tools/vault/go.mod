// The last Vault under MPL-2.0 that builds, for `make prove-vault`.
module keyferry.example/tools/vault

go 1.26

// A certificate that a dependency brings along has a serial number that Go does not take any more.
godebug x509negativeserial=1

require (
	github.com/hashicorp/vault v1.14.1
	github.com/hashicorp/vault/api v1.9.2
	github.com/hashicorp/vault/sdk v0.9.2
)
