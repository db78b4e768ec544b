# Everything a newcomer needs: `make quickstart` and `make demo` show it, `make test` checks it.
.PHONY: help quickstart demo test test-fast bench bench-sync hostile prove-stores prove-vault prove-node prove-failover alone lint deny advisories image sbom chart release-check release-notes book reference crds clean

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: ## Build keyferry, and watch an encrypted file become an application's files: no server, no cluster
	@scripts/quickstart

demo: ## Build what is missing, start real servers, and watch secrets arrive (HOLD=1 stays up)
	@scripts/demo

test: ## Run every check and test, against real servers
	@scripts/test

test-fast: ## Run the tests that need no server: for each edit
	@scripts/test --fast

bench: ## Measure calls, requests, time and memory (ARGS="--objects 200 --store vault"; ARGS=--weigh the program alone; ARGS=--help lists all)
	@scripts/bench $(ARGS)

bench-sync: ## Measure `keyferry sync`: 500 targets of 20 keys, a pass in less than a second of a processor (builds a release)
	@scripts/bench-sync $(ARGS)

hostile: ## Attack the operator as a tenant may, and see whether another notices (ARGS="--attack hang"; ARGS=--list tells which)
	@scripts/hostile $(ARGS)

prove-stores: ## Run a store of each kind at once for ten minutes, while values and credentials change (ARGS="--seconds 60")
	@scripts/prove-stores $(ARGS)

prove-vault: ## Log in at HashiCorp's own Vault by LDAP and AWS IAM (builds it once; needs Debian's slapd)
	@scripts/prove-vault $(ARGS)

prove-node: ## Kill the driver thirty times, mount a hundred pods, and measure what that takes (needs root; some twelve minutes)
	@scripts/prove-node $(ARGS)

prove-failover: ## Kill the replica that leads fifty times, in the middle of a rotation, and see the other go on (ARGS="--rounds 5"; some twenty minutes)
	@scripts/prove-failover $(ARGS)

alone: ## Check each crate of a provider by itself
	@scripts/alone

lint: ## Formatting, clippy, and the rules of tests/tidy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --locked --quiet -p keyferry-tidy

deny: ## Licences, duplicates and sources of dependencies
	@scripts/deny

advisories: ## Known vulnerabilities of dependencies (fetches the database of RustSec)
	@scripts/deny --advisories

image: ## Make the container image without an engine: target/keyferry-image.tar (ARGS="--name NAME:TAG"; ARGS=--help lists all)
	@scripts/image $(ARGS)

sbom: ## Write what the program is made of: target/keyferry.cdx.json (CycloneDX)
	@scripts/sbom

chart: ## Pack the chart, naming the published image: target/chart (needs helm, or HELM; ARGS=REPOSITORY names another image)
	@scripts/release chart $(ARGS)

release-check: ## Whether versions and the changelog agree with a tag (TAG=v1.2.3)
	@scripts/release check "$(TAG)"

release-notes: ## What the changelog says of a version (VERSION=1.2.3)
	@scripts/release notes "$(VERSION)"

book: ## Make the documentation a site: target/book/html/index.html (every link is followed)
	@scripts/book

reference: ## Write the reference of fields and of flags anew
	cargo run --quiet --locked -p keyferry-crds
	KEYFERRY_WRITE=1 cargo test --quiet --locked -p keyferry --test reference

crds: ## Write the CustomResourceDefinitions and their reference anew
	cargo run --quiet --locked -p keyferry-crds

clean: ## Remove what was built, the servers of the testbed included
	rm -rf target .cache
