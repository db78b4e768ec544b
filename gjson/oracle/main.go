// Asks gjson for values, for the tests of keyferry-gjson to compare with.
//
// It reads questions, each a path and a document, and answers each, in order, with the type, the text and the raw text
// of what is found; a fourth field says what went wrong, most often nothing. Every field is its length as four bytes,
// the most significant first, and then its bytes.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tidwall/gjson"
)

// Longer than any question of the tests takes; what would take longer has no answer.
const patience = 10 * time.Second

func main() {
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	for {
		path, err := read(in)
		if err == io.EOF {
			break
		}
		document, err2 := read(in)
		if err != nil || err2 != nil {
			fmt.Fprintln(os.Stderr, "oracle: a question is cut short")
			os.Exit(1)
		}
		for _, field := range answer(document, path) {
			write(out, field)
		}
		if in.Buffered() == 0 {
			out.Flush()
		}
	}
	out.Flush()
}

func read(in io.Reader) (string, error) {
	var size uint32
	if err := binary.Read(in, binary.BigEndian, &size); err != nil {
		return "", err
	}
	field := make([]byte, size)
	_, err := io.ReadFull(in, field)
	return string(field), err
}

func write(out io.Writer, field string) {
	binary.Write(out, binary.BigEndian, uint32(len(field)))
	io.WriteString(out, field)
}

func answer(document, path string) [4]string {
	done := make(chan [4]string, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				done <- [4]string{"", "", "", fmt.Sprint("panic: ", r)}
			}
		}()
		found := gjson.Get(document, path)
		kind := found.Type.String()
		if !found.Exists() {
			kind = "Missing"
		}
		done <- [4]string{kind, found.String(), found.Raw, ""}
	}()
	select {
	case a := <-done:
		return a
	case <-time.After(patience):
		return [4]string{"", "", "", "timeout"}
	}
}
