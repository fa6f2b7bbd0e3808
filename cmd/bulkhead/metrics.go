package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"bulkhead/api"
)

func metricsCommand(runDir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "metrics",
		Short: "Print the daemon's metrics in Prometheus' text format (see also `bulkhead daemon --metrics`)",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			metrics, err := api.NewClient(*runDir).Metrics(cmd.Context())
			if err != nil {
				return err
			}
			defer metrics.Close()
			if _, err := io.Copy(cmd.OutOrStdout(), metrics); err != nil {
				return fmt.Errorf("read the daemon's metrics: %w", err)
			}
			return nil
		},
	}
}
