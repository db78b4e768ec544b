// The oracle of keyferry-gjson's tests: gjson with the versions that External Secrets Operator 2.9 uses.
module keyferry.dev/gjson/oracle

go 1.26.0

require github.com/tidwall/gjson v1.18.0

require (
	github.com/tidwall/match v1.2.0 // indirect
	github.com/tidwall/pretty v1.2.1 // indirect
)
