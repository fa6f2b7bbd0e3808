package lab_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulkhead/lab"
)

// TestMain lets the test's own program stand in for bulkhead: called as "PROGRAM daemon ...", it does what the name of
// its folder of configuration says.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "daemon" {
		os.Exit(standIn(os.Args[2:]))
	}
	os.Exit(m.Run())
}

func standIn(args []string) int {
	fmt.Println("arguments:", strings.Join(args, " "))
	behaviour := filepath.Base(args[slices.Index(args, "--config")+1])
	if behaviour == "dies" {
		fmt.Println("gateway.yaml:3:1: not today")
		return 1
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if behaviour == "ready" {
		conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			fmt.Println(err)
			return 1
		}
		for _, message := range []string{"STATUS=not READY=1 yet", "STATUS=now\nREADY=1"} {
			if _, err := conn.Write([]byte(message)); err != nil {
				fmt.Println(err)
				return 1
			}
		}
	}
	<-stop
	fmt.Println("stopped properly")
	return 0
}

func startStandIn(t *testing.T, ctx context.Context, behaviour string) (*lab.Lab, *lab.Process, error) {
	t.Helper()
	l := newLab(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.StartDaemon(ctx, self, "/run/nowhere", "/etc/"+behaviour)
	return l, p, err
}

func TestDaemonIsReadyWhenItSaysSoAndEndsWhenTold(t *testing.T) {
	l, p, err := startStandIn(t, t.Context(), "ready")
	if err != nil {
		t.Fatal(err)
	}
	charon := filepath.Dir(l.GatewayCharonSocket())
	want := "arguments: --config /etc/ready --run-dir /run/nowhere --charon-socket " + l.GatewayCharonSocket() +
		" --charon-settings " + charon + "/daemon.conf --radius-dir " + charon + "/radius"
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if log := p.LogTail(10); log != want+"\nstopped properly" {
		t.Errorf("log:\n%s\nwant %s", log, want)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("stopped again: %v", err)
	}
	again, err := l.StartDaemon(t.Context(), os.Args[0], "/run/nowhere", "/etc/ready")
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Kill(); err != nil {
		t.Error(err)
	}
	select {
	case <-again.Exited():
	default:
		t.Error("Kill returned before the daemon was gone")
	}
	if strings.Count(again.LogTail(10), "stopped properly") != 1 {
		t.Errorf("a killed daemon stopped properly:\n%s", again.LogTail(10))
	}
}

func TestDaemonThatDiesOrNeverGetsReadyIsAnErrorWithItsLog(t *testing.T) {
	_, _, err := startStandIn(t, t.Context(), "dies")
	if err == nil || !strings.Contains(err.Error(), "gateway.yaml:3:1: not today") {
		t.Errorf("the error of a daemon that died: %v", err)
	}
	_, _, err = startStandIn(t, within(t, 2*time.Second), "hangs")
	if err == nil || !strings.Contains(err.Error(), "did not become ready") ||
		!strings.Contains(err.Error(), "/etc/hangs") {
		t.Errorf("the error of a daemon that hangs: %v", err)
	}
}
