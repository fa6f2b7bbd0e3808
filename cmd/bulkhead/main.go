// Command bulkhead is the gateway: the daemon and the operator's commands.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// defaultRunDir is where the daemon keeps its pins and its control socket.
const defaultRunDir = "/run/bulkhead"

// version is set by the build.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bulkhead:", err)
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "bulkhead",
		Short:         "Multi-tenant gateway: joins tenants' virtual networks to their sites and to the Internet",
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	runDir := root.PersistentFlags().String("run-dir", defaultRunDir,
		"folder of the daemon's pins and control socket")
	root.AddCommand(
		daemonCommand(runDir),
		applyCommand(runDir),
		policyCommand(runDir),
		validateCommand(),
		schemaCommand(),
		showCommand(runDir),
		traceCommand(runDir),
		captureCommand(runDir),
		tunnelCommand(runDir),
		vpnCommand(runDir),
		bgpCommand(runDir),
		metricsCommand(runDir),
		speakerCommand(),
	)
	return root
}
