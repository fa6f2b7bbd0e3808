package speaker

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"
)

// Bounds of what is logged.
const (
	logLines = 256         // that wait for a slow reader
	logLast  = time.Second // for the last lines when the process ends
)

// logWriter hands lines on without ever waiting for their reader: a session must not end because the log is stuck. What
// is too much is counted, and said once there is room.
type logWriter struct {
	lines chan []byte // nil is the end
	lost  atomic.Uint64
	done  chan struct{}
}

// newLog starts to hand lines on to w.
func newLog(w io.Writer) *logWriter {
	l := &logWriter{lines: make(chan []byte, logLines), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for line := <-l.lines; line != nil; line = <-l.lines {
			_, _ = w.Write(line)
			if lost := l.lost.Swap(0); lost > 0 {
				fmt.Fprintf(w, "level=WARN msg=\"lines of the log were lost, since nobody read them\" lines=%d\n", lost)
			}
		}
	}()
	return l
}

// Write takes one line.
func (l *logWriter) Write(line []byte) (int, error) {
	select {
	case l.lines <- slices.Clone(line):
	default:
		l.lost.Add(1)
	}
	return len(line), nil
}

// close hands on what was written until now, as far as somebody reads it.
func (l *logWriter) close() {
	patience := time.After(logLast)
	select {
	case l.lines <- nil:
	case <-patience:
		return
	}
	select {
	case <-l.done:
	case <-patience:
	}
}
