package main

import (
	"strings"

	"sigs.k8s.io/yaml"
)

// ESO's functions for text formats.
var formats = map[string]any{
	"toYaml": func(value any) string {
		text, err := yaml.Marshal(value)
		if err != nil {
			return ""
		}
		return strings.TrimSuffix(string(text), "\n")
	},
	"fromYaml": func(text string) map[string]any {
		result := map[string]any{}
		if err := yaml.Unmarshal([]byte(text), &result); err != nil {
			// A nil map here is a panic, as it is in ESO.
			result["Error"] = err.Error()
		}
		return result
	},
}
