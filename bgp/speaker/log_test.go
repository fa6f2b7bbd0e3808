package speaker

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestALogThatNobodyReadsKeepsNobodyWaiting(t *testing.T) {
	reader, writer := io.Pipe()
	l := newLog(writer)
	for n := range 2 * logLines {
		fmt.Fprintf(l, "line %d\n", n) // would never return if it waited
	}
	var read bytes.Buffer
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(&read, reader)
	}()
	l.close()
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	if text := read.String(); !strings.HasPrefix(text, "line 0\n") || !strings.Contains(text, "lines of the log were lost") {
		t.Errorf("read:\n%s", text)
	}
}

func TestALogWhoseReaderIsGoneIsWrittenToNobody(t *testing.T) {
	reader, writer := io.Pipe()
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	l := newLog(writer)
	if _, err := io.WriteString(l, "line\n"); err != nil {
		t.Error(err)
	}
	l.close()
}
