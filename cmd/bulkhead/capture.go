package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/capture"
	"bulkhead/compartments"
	"bulkhead/internal/netns"
)

// captureRequest is what the operator wants to see.
type captureRequest struct {
	capture.Options
	tenant   string
	file     string
	duration time.Duration
	through  bool
}

func captureCommand(runDir *string) *cobra.Command {
	var r captureRequest
	cmd := &cobra.Command{
		Use:   "capture --tenant TENANT -w FILE",
		Short: "Record one tenant's packets, without outer headers, and only them",
		Long: `Record the packets of one tenant, without outer headers, and only them, as pcapng (Wireshark's format), until
interrupted. With -w - the file goes to standard output:

  bulkhead capture --tenant Contoso -w - | tshark -r -

Recorded is what passes the interfaces of the tenant's compartment, those that appear later too, before encryption and
after decryption. Where the gateway is the tenant's external router, what it routes from one virtual subnet to another
does not enter the compartment and is not seen. --through makes it pass the compartment while the capture runs, the
way it takes where filters are declared: nothing is lost, but it costs the gateway more, so that a busy tenant may be
slowed down. What door 1 or door 2 drops is not seen either; see show drops.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.run(cmd.Context(), *runDir, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&r.tenant, "tenant", "", "whose packets (required)")
	flags.StringVarP(&r.file, "write", "w", "", "file to write, readable by its owner only; - for standard output (required)")
	flags.StringVar(&r.Link, "interface", "", "only this interface of the compartment; all but loopback when left out")
	flags.Uint64VarP(&r.Count, "count", "c", 0, "end after so many packets; 0 for no limit")
	flags.DurationVar(&r.duration, "duration", 0, "end after this time, as 30s or 5m; 0 for no limit")
	flags.IntVar(&r.SnapLength, "snaplen", capture.DefaultSnapLength, "bytes of each packet to keep")
	flags.BoolVar(&r.through, "through", false, "see what the external router routes, by having it pass the compartment")
	for _, required := range []string{"tenant", "write"} {
		_ = cmd.MarkFlagRequired(required)
	}
	return cmd
}

func (r captureRequest) run(ctx context.Context, runDir string, stdout, notes io.Writer) error {
	if r.SnapLength < 1 || r.SnapLength > capture.DefaultSnapLength {
		return fmt.Errorf("--snaplen %d: use 1 to %d", r.SnapLength, capture.DefaultSnapLength)
	}
	if r.duration < 0 {
		return fmt.Errorf("--duration %v: use a time that is not negative", r.duration)
	}
	ns, err := openCompartment(runDir, r.tenant)
	if err != nil {
		return err
	}
	defer ns.Close()
	c, err := capture.Open(ns, r.Options)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	if note := c.Missing(); note != "" {
		fmt.Fprintf(notes, "tenant %s: %s\n", r.tenant, note)
	}
	out, err := openCapture(r.file, stdout)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.through {
		if err := routeThrough(ctx, runDir, r.tenant, notes); err != nil {
			return errors.Join(err, out.Close())
		}
	}
	if r.duration > 0 {
		time.AfterFunc(r.duration, cancel)
	}
	result, err := c.Record(ctx, out)
	if errors.Is(err, syscall.EPIPE) {
		err = nil // Whoever read along has seen enough.
	}
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("tenant %s: %w", r.tenant, err)
	}
	fmt.Fprintf(notes, "%d packets captured, %d dropped because they came too fast\n", result.Packets, result.Dropped)
	return nil
}

// routeThrough makes what the external router routes pass the compartment until ctx ends.
func routeThrough(ctx context.Context, runDir, tenant string, notes io.Writer) error {
	over, err := api.NewClient(runDir).Through(ctx, tenant)
	if err != nil {
		return err
	}
	go func() {
		<-over
		if ctx.Err() == nil {
			fmt.Fprintln(notes, "the daemon stopped: what the external router routes is not seen any more")
		}
	}()
	fmt.Fprintln(notes, "what the external router routes passes the compartment until the capture ends")
	return nil
}

// openCompartment opens a tenant's namespace, with or without a daemon.
func openCompartment(runDir, tenant string) (*netns.Namespace, error) {
	rooms, err := compartments.New(filepath.Join(runDir, "netns"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rooms.Close() }()
	ns, err := rooms.Open(tenant)
	if errors.Is(err, os.ErrNotExist) {
		names, _ := rooms.Names()
		return nil, fmt.Errorf("tenant %q has no compartment below %s; there are: %s", tenant, runDir, strings.Join(names, ", "))
	}
	return ns, err
}

// openCapture opens the file to write. What a tenant says is nobody's but root's: the file has mode 0600, also where it
// was there before.
func openCapture(name string, stdout io.Writer) (io.WriteCloser, error) {
	if name == "-" {
		return nopCloser{stdout}, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the file to write: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().IsRegular() {
		err = f.Chmod(0o600)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("protect the file to write: %w", err), f.Close())
	}
	return f, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
