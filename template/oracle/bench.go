package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// bench renders each line of a file over and over for a while and prints nanoseconds for parsing and for rendering.
func (e *engine) bench(file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	decoder := json.NewDecoder(in)
	var data map[string]string
	for decoder.More() {
		var r request
		if err := decoder.Decode(&r); err != nil {
			return err
		}
		if r.Data != nil {
			data = texts(r.Data)
		}
		t, err := e.parse(r.Template)
		if err != nil {
			return err
		}
		var out bytes.Buffer
		var failed error
		parse := measure(func() { _, failed = e.parse(r.Template) })
		render := measure(func() {
			out.Reset()
			failed = t.Execute(&out, data)
		})
		if failed != nil {
			return failed
		}
		fmt.Printf("{\"parse\":%d,\"render\":%d}\n", parse, render)
	}
	return nil
}

// measure takes the best of nine rounds of a few milliseconds each.
func measure(work func()) int64 {
	work()
	rounds := 1
	for {
		began := time.Now()
		for range rounds {
			work()
		}
		if took := time.Since(began); took > 4*time.Millisecond {
			break
		}
		rounds *= 2
	}
	var best int64
	for range 9 {
		began := time.Now()
		for range rounds {
			work()
		}
		if took := time.Since(began).Nanoseconds() / int64(rounds); best == 0 || took < best {
			best = took
		}
	}
	return best
}
