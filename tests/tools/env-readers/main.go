// What readers of variables make of a file, as JSON: docker compose's of .env files, and that of docker's --env-file.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/docker/cli/pkg/kvfile"
)

// Every variable of the environment is set, and what is looked up shows.
func lookup(string) (string, bool) { return "looked up", true }

func read(reader, path string) (any, error) {
	switch reader {
	case "compose":
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return dotenv.ParseWithLookup(file, lookup)
	case "docker":
		return kvfile.Parse(path, lookup)
	}
	return nil, fmt.Errorf("no reader %q", reader)
}

func main() {
	all, err := read(os.Args[1], os.Args[2])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(all)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
