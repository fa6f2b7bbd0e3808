package main

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"bulkhead/compartments"
	"bulkhead/internal/netns"
	"bulkhead/internal/testenv"
)

// room makes a tenant's compartment, pinned as the daemon does.
func room(t *testing.T, runDir, tenant string) *netns.Namespace {
	t.Helper()
	testenv.Root(t)
	rooms, err := compartments.New(filepath.Join(runDir, "netns"))
	if err != nil {
		t.Fatal(err)
	}
	ns, err := rooms.Ensure(tenant)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(ns.Close(), rooms.Remove(context.Background(), tenant), rooms.Close()); err != nil {
			t.Error(err)
		}
	})
	return ns
}

// murmur sends datagrams to the compartment itself until the test ends.
func murmur(t *testing.T, ns *netns.Namespace) {
	t.Helper()
	h, err := ns.Netlink(unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	var conn net.Conn
	if err := ns.Do(func() (err error) {
		conn, err = net.Dial("udp4", "127.0.0.1:9")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		pace := time.NewTicker(time.Millisecond)
		defer pace.Stop()
		for t.Context().Err() == nil {
			<-pace.C
			_, _ = conn.Write([]byte("murmur"))
		}
	}()
}

// command runs a capture and returns what it wrote to standard output and to standard error.
func command(t *testing.T, runDir string, args ...string) (stdout, stderr bytes.Buffer, err error) {
	t.Helper()
	root := rootCommand()
	root.SetArgs(append([]string{"capture", "--run-dir", runDir}, args...))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	err = root.ExecuteContext(t.Context())
	return stdout, stderr, err
}

func TestCaptureWritesAFileForItsOwnerAlone(t *testing.T) {
	runDir, file := t.TempDir(), filepath.Join(t.TempDir(), "contoso.pcapng")
	murmur(t, room(t, runDir, "Contoso"))
	if err := os.WriteFile(file, []byte("of an earlier day"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, notes, err := command(t, runDir, "--tenant", "Contoso", "--interface", "lo", "-c", "5", "-w", file)
	if err != nil || !strings.Contains(notes.String(), "5 packets captured, 0 dropped") {
		t.Fatalf("%v, %q", err, notes.String())
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, mode %v, want 0600", err, info.Mode())
	}
	if n := packetsIn(t, file); n != 5 {
		t.Errorf("%d packets in the file, want 5", n)
	}
}

func packetsIn(t *testing.T, file string) (n int) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	r, err := pcapgo.NewNgReader(bytes.NewReader(text), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, _, err := r.ReadPacketData(); err != nil {
			return n
		}
		n++
	}
}

func TestCaptureToStandardOutputIsNothingButTheFile(t *testing.T) {
	runDir := t.TempDir()
	room(t, runDir, "Contoso")
	out, notes, err := command(t, runDir, "--tenant", "Contoso", "--duration", "1ms", "-w", "-")
	if err != nil || !strings.Contains(notes.String(), "0 packets captured") {
		t.Fatalf("%v, %q", err, notes.String())
	}
	if _, err := pcapgo.NewNgReader(&out, pcapgo.NgReaderOptions{}); err != nil {
		t.Errorf("read what was written: %v", err)
	}
}

func TestCaptureRefusesWhatItCannotDo(t *testing.T) {
	runDir, dir := t.TempDir(), t.TempDir()
	room(t, runDir, "Contoso")
	link := filepath.Join(dir, "link")
	if err := os.Symlink("/etc/passwd", link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--tenant", "Adatum", "-w", "-"}, "there are: Contoso"},
		{[]string{"--tenant", "../Contoso", "-w", "-"}, "not a name"},
		{[]string{"--tenant", "Contoso"}, `"write"`},
		{[]string{"--tenant", "Contoso", "-w", link}, "open the file"},
		{[]string{"--tenant", "Contoso", "-w", "-", "--snaplen", "0"}, "--snaplen"},
		{[]string{"--tenant", "Contoso", "-w", "-", "--duration", "-1s"}, "--duration"},
		{[]string{"--tenant", "Contoso", "-w", "-", "--through"}, "no daemon answers"},
	} {
		if _, _, err := command(t, runDir, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: error %v, want one about %q", c.args, err, c.want)
		}
	}
	if _, err := os.Stat(link); errors.Is(err, fs.ErrNotExist) {
		t.Error("what the link leads to is gone")
	}
}
