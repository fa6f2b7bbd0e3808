package speaker

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// A notification by which we end a session ourselves may be sent after the reason was noted, and is none.
func TestNotificationsOfWhatWeDoAreNoReason(t *testing.T) {
	s := &Speaker{journal: newJournal()}
	log := slog.New(newTranslator(s)).With("Key", ny.String())
	for _, c := range []struct {
		message       string
		code, subcode int
		reason        string
	}{
		{"sent notification", gobgp.BGP_ERROR_CEASE, gobgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN, ""},
		{"sent notification", gobgp.BGP_ERROR_CEASE, gobgp.BGP_ERROR_SUB_PEER_DECONFIGURED, ""},
		{"received notification", gobgp.BGP_ERROR_CEASE, gobgp.BGP_ERROR_SUB_ADMINISTRATIVE_SHUTDOWN,
			"received notification: code 6(cease) subcode 2(administrative shutdown)"},
		{"sent notification", gobgp.BGP_ERROR_HOLD_TIMER_EXPIRED, 0, "sent notification: code 4(hold timer expired) subcode 0(undefined)"},
	} {
		s.journal.forget(ny)
		log.Info(c.message, "Code", c.code, "Subcode", c.subcode)
		if notice := s.journal.read(ny).notice; notice != c.reason {
			t.Errorf("%s %d/%d is told as %q, want %q", c.message, c.code, c.subcode, notice, c.reason)
		}
	}
}

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
