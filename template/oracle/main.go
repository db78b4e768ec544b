// Renders templates as External Secrets Operator does, for the tests of keyferry-template to compare with.
//
// It reads JSON lines {"template": "...", "data": {"key": "<base64>"}} and answers each, in order, with
// {"ok": true, "output": "<base64>"} or {"ok": false, "error": "..."}. A line without data uses that of the last line
// that had some. `oracle bench FILE` measures instead, `oracle fixtures FOLDER` writes test data, `oracle names` lists
// the functions.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"text/template"
	"time"
)

type request struct {
	Template string            `json:"template"`
	Data     map[string][]byte `json:"data"`
}

type answer struct {
	OK     bool   `json:"ok"`
	Output []byte `json:"output,omitempty"`
	Error  string `json:"error,omitempty"`
}

type engine struct {
	left, right, missingkey string
	funcs                   template.FuncMap
}

func main() {
	var e engine
	flag.StringVar(&e.left, "left", "{{", "left delimiter")
	flag.StringVar(&e.right, "right", "}}", "right delimiter")
	flag.StringVar(&e.missingkey, "missingkey", "error", "what a missing key does: error, zero, default")
	now := flag.Int64("now", 0, "the time that now and its like take, in Unix seconds; 0 is the real time")
	wait := flag.Duration("timeout", 20*time.Second, "how long one template may take")
	flag.Parse()
	e.funcs = functions(*now)

	var err error
	switch flag.Arg(0) {
	case "":
		err = e.serve(*wait)
	case "bench":
		err = e.bench(flag.Arg(1))
	case "names":
		for _, name := range e.names() {
			fmt.Println(name)
		}
	case "fixtures":
		err = fixtures(flag.Arg(1))
	default:
		err = fmt.Errorf("unknown command %q", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
		os.Exit(1)
	}
}

func (e *engine) serve(wait time.Duration) error {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	decoder := json.NewDecoder(in)
	encoder := json.NewEncoder(os.Stdout)
	var data map[string]string
	for decoder.More() {
		var r request
		if err := decoder.Decode(&r); err != nil {
			return err
		}
		if r.Data != nil {
			data = texts(r.Data)
		}
		done := make(chan answer, 1)
		go func() { done <- e.answer(r.Template, data) }()
		var a answer
		select {
		case a = <-done:
		case <-time.After(wait):
			a = answer{Error: "oracle: timeout"}
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
	return nil
}

func texts(data map[string][]byte) map[string]string {
	root := make(map[string]string, len(data))
	for key, value := range data {
		root[key] = string(value)
	}
	return root
}

func (e *engine) answer(text string, data map[string]string) (a answer) {
	defer func() {
		if r := recover(); r != nil {
			a = answer{Error: fmt.Sprint("panic: ", r)}
		}
	}()
	t, err := e.parse(text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return answer{Error: err.Error()}
	}
	return answer{OK: true, Output: out.Bytes()}
}

func (e *engine) parse(text string) (*template.Template, error) {
	t := template.New("template").Option("missingkey=" + e.missingkey).Funcs(e.funcs)
	return t.Delims(e.left, e.right).Parse(text)
}
