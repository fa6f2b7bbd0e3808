package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"bulkhead/api"
	"bulkhead/configs"
	"bulkhead/gateway"
)

// defaultCharonSocket is where Debian's strongSwan serves VICI.
const defaultCharonSocket = "/run/charon.vici"

// charonPatience is how long the daemon waits for charon before it says that it is ready without tunnels.
const charonPatience = 5 * time.Second

func daemonCommand(runDir *string) *cobra.Command {
	var configDir, charon, settings, radius, metrics string
	cmd := &cobra.Command{
		Use:   "daemon --config DIR",
		Short: "Run the gateway in the foreground on a folder's declarations",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := filepath.Abs(configDir)
			if err != nil {
				return err
			}
			return runDaemon(cmd.Context(), cmd.ErrOrStderr(), dir, metrics, gateway.Options{
				RunDir: *runDir, CharonSocket: charon, CharonSettings: settings, RADIUSDir: radius,
			})
		},
	}
	cmd.Flags().StringVar(&configDir, "config", "", "folder of the declarations (required)")
	cmd.Flags().StringVar(&charon, "charon-socket", defaultCharonSocket, "charon's VICI socket")
	cmd.Flags().StringVar(&settings, "charon-settings", "",
		"file of settings that charon includes (default: charon.conf in --run-dir)")
	cmd.Flags().StringVar(&radius, "radius-dir", "", "folder of FreeRADIUS's configuration (default: radius in --run-dir)")
	cmd.Flags().StringVar(&metrics, "metrics", "",
		"address and port to serve Prometheus' metrics on, such as 127.0.0.1:9480; they name tenants (default: nowhere)")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}

// runDaemon brings the declaration in dir about, serves the control socket, and metrics where an address is given, and keeps
// everything going until ctx ends.
func runDaemon(ctx context.Context, w io.Writer, dir, metrics string, options gateway.Options) (err error) {
	if _, err := load(w, dir); err != nil {
		return err // and nothing is touched
	}
	log := slog.New(slog.NewTextHandler(w, nil))
	options.Log = log
	g, err := gateway.Open(options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	// Again, now that the lock is held: the daemon before may have written a change of policy meanwhile.
	cfg, err := load(w, dir)
	if err != nil {
		return err
	}
	listener, err := api.Listen(ctx, options.RunDir)
	if err != nil {
		return err
	}
	defer listener.Close()
	scraped, err := listenForMetrics(ctx, metrics)
	if err != nil {
		return err
	}
	for _, p := range cfg.Pending() {
		log.Warn("declared, not carried out yet: " + p)
	}
	for _, warning := range cfg.Warnings() {
		log.Warn(warning)
	}
	if err := cfg.CompactPolicies(); err != nil {
		log.Warn("policy files stay as long as they are", "error", err)
	}

	started := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return g.Run(ctx) })
	server := api.NewServer(g, dir, log, started)
	group.Go(func() error { return server.Serve(ctx, listener) })
	if scraped != nil {
		group.Go(func() error { return server.ServeMetrics(ctx, scraped) })
	}
	group.Go(func() error {
		failed, err := start(ctx, log, g, dir, cfg)
		if err != nil {
			return err
		}
		close(started)
		select {
		case <-g.TunnelsReady():
		case <-time.After(charonPatience):
			log.Warn("charon does not answer; everything but the tunnels works, they follow once it does", "socket", options.CharonSocket)
		case <-ctx.Done():
			return nil
		}
		log.Info(fmt.Sprintf("ready: gateway %s, %d tenants", cfg.Gateway.Name, len(cfg.Tenants)), "complete", !failed)
		if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
			log.Warn("systemd was not told", "error", err)
		}
		return nil
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	log.Info("stopped; compartments, doors and tunnels go on working")
	return nil
}

// listenForMetrics opens the address that metrics are served on; nil where there is none.
func listenForMetrics(ctx context.Context, address string) (net.Listener, error) {
	if address == "" {
		return nil, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--metrics %s: %w", address, err)
	}
	return l, nil
}

// start takes up the folder that the daemon was started on. failed tells that not all of it could be brought about: a
// tenant that cannot be brought up is logged and tried again; it must not keep the others' gateway away.
func start(ctx context.Context, log *slog.Logger, g *gateway.Gateway, dir string, cfg *configs.Config) (failed bool, err error) {
	err = g.Apply(ctx, dir, func() (*configs.Config, error) { return cfg, nil })
	var fatal *gateway.DefaultError
	switch {
	case err == nil:
		return false, nil
	case ctx.Err() != nil:
		return true, ctx.Err()
	case errors.As(err, &fatal):
		return true, err
	}
	log.Error("not all of the declaration could be brought about; trying again", "error", err)
	return true, nil
}
