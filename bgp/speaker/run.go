package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	"golang.org/x/sys/unix"

	"bulkhead/bgp/internal/wire"
)

// atOnce is how many CPUs one speaker keeps busy. Hundreds of these processes share a machine.
const atOnce = 2

// Run is the life of a speaker's process: it takes the compartment's one place, says on the standard output that it is
// there, or why it cannot be, and speaks until a daemon stops it on the socket, or ctx ends. It logs to the standard
// error, and goes on when nobody reads that any more.
func Run(ctx context.Context, socket string, options Options) error {
	signal.Ignore(syscall.SIGPIPE)
	debug.SetGCPercent(collectAtRest)
	runtime.GOMAXPROCS(min(atOnce, runtime.NumCPU()))
	lines := newLog(os.Stderr)
	defer lines.close()
	options.Log = slog.New(slog.NewTextHandler(lines, nil)).With("tenant", options.Tenant)

	server, speaker, err := begin(socket, options)
	if err != nil {
		fmt.Fprintln(os.Stdout, err)
		return err
	}
	if err := ready(); err != nil {
		return errors.Join(err, speaker.Close(ctx, true))
	}
	debug.FreeOSMemory()
	return server.Serve(ctx, speaker)
}

func begin(socket string, options Options) (*Server, *Speaker, error) {
	server, err := Listen(socket, options.Log)
	if err != nil {
		return nil, nil, err
	}
	speaker, err := New(options)
	if err != nil {
		return nil, nil, errors.Join(err, server.seat.Close())
	}
	return server, speaker, nil
}

// ready tells who started us, and lets go of the pipe to it.
func ready() error {
	if _, err := os.Stdout.WriteString(wire.Ready); err != nil {
		return fmt.Errorf("tell the daemon that the speaker is ready: %w", err)
	}
	if err := unix.Dup3(int(os.Stderr.Fd()), int(os.Stdout.Fd()), 0); err != nil {
		return fmt.Errorf("close the pipe to the daemon: %w", err)
	}
	return nil
}
