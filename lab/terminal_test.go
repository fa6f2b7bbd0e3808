//go:build !vm

package lab_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with a person, the test, at its other end.
type terminal struct {
	t             *testing.T
	person, other *os.File
	shown         chan []byte
	unread        []byte
}

func newTerminal(t *testing.T, rows, columns uint16) *terminal {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	check(err)
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	check(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	check(err)
	check(unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}))
	other, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	check(err)
	t.Cleanup(func() { other.Close() })
	term := &terminal{t: t, person: person, other: other, shown: make(chan []byte)}
	go func() {
		defer close(term.shown)
		for {
			buffer := make([]byte, 4096)
			n, err := person.Read(buffer)
			if err != nil {
				return
			}
			select {
			case term.shown <- buffer[:n]:
			case <-t.Context().Done():
				return
			}
		}
	}()
	return term
}

// settings are what a program may leave in disorder.
func (term *terminal) settings() unix.Termios {
	term.t.Helper()
	settings, err := unix.IoctlGetTermios(int(term.other.Fd()), unix.TCGETS)
	if err != nil {
		term.t.Fatal(err)
	}
	return *settings
}

// types sends keys and waits until the text is shown after them.
func (term *terminal) types(keys, await string) {
	term.t.Helper()
	if _, err := term.person.WriteString(keys); err != nil {
		term.t.Fatal(err)
	}
	timeout := time.After(2 * time.Minute)
	for {
		if i := bytes.Index(term.unread, []byte(await)); i >= 0 {
			term.unread = term.unread[i+len(await):]
			return
		}
		select {
		case shown, ok := <-term.shown:
			if !ok {
				term.t.Fatalf("the terminal was closed; waiting for %q, it showed %q", await, term.unread)
			}
			term.unread = append(term.unread, shown...)
		case <-timeout:
			term.t.Fatalf("%q did not come; shown instead: %q", await, term.unread)
		}
	}
}

func TestAnInteractiveMachineHasTheTerminalAndGivesItBack(t *testing.T) {
	term := newTerminal(t, 33, 111)
	before := term.settings()
	cmd := exec.CommandContext(t.Context(), "./vm", "--interactive", "sh", "-c", "echo the demo; bash --norc; exit 3")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = term.other, term.other, term.other
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // or its machine would stay
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Quotes keep the echo of what is typed apart from what it prints.
	term.types("", "the demo\r\n")
	term.types("", "# ")
	term.types("stty size\r", "33 111\r\n")
	term.types("", "# ")
	// Printed by the one that is interrupted: the shell itself, between two commands, may have it and wait on for the second.
	term.types("sh -c \"echo run''ning; exec sleep 1000\"\r", "running\r\n")
	term.types("\x03", "# ")
	term.types("echo sta''tus $?\r", "status 130\r\n")
	term.types("", "# ")
	term.types("exit\r", "exit\r\n")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("lab/vm ended with %v, its command with 3", err)
	}
	if after := term.settings(); after != before {
		t.Errorf("the terminal's settings were %+v, and are %+v", before, after)
	}
}
