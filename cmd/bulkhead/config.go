package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/configs"
)

func validateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "validate PATH...",
		Short: "Check files or folders of declarations; nothing is changed",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			cfg, err := load(cmd.ErrOrStderr(), paths...)
			if err != nil {
				return err
			}
			printPending(cmd.OutOrStdout(), cfg.Pending())
			printWarnings(cmd.OutOrStdout(), cfg.Warnings())
			fmt.Fprintf(cmd.OutOrStdout(), "valid: gateway %s, %d tenants\n", cfg.Gateway.Name, len(cfg.Tenants))
			return nil
		},
	}
}

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the declarations, for editors",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			schema, err := configs.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(schema)
			return err
		},
	}
}

func applyCommand(runDir *string) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "apply --config DIR",
		Short: "Make the running daemon take up a folder as the whole desired state",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			abs, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			// The daemon alone can tell: secrets may be in its environment and not in this one.
			answer, err := api.NewClient(*runDir).Apply(cmd.Context(), abs)
			var problems configs.Problems
			if errors.As(err, &problems) {
				return printProblems(cmd.ErrOrStderr(), problems)
			} else if err != nil {
				return err
			}
			printPending(cmd.OutOrStdout(), answer.Pending)
			printWarnings(cmd.OutOrStdout(), answer.Warnings)
			for _, note := range answer.Notes {
				fmt.Fprintln(cmd.OutOrStdout(), "note:", note)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "applied: %s, %d tenants\n", abs, answer.Tenants)
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "config", "", "folder of the declarations (required)")
	_ = cmd.MarkFlagRequired("config")
	return cmd
}

// load reads declarations. Their problems go to w, one a line, so that editors and people can jump to each.
func load(w io.Writer, paths ...string) (*configs.Config, error) {
	cfg, err := configs.Load(paths...)
	var problems configs.Problems
	if errors.As(err, &problems) {
		return nil, printProblems(w, problems)
	}
	return cfg, err
}

// printProblems prints them, one a line, and returns the error that is left to say.
func printProblems(w io.Writer, problems configs.Problems) error {
	for _, p := range problems {
		fmt.Fprintln(w, p)
	}
	return fmt.Errorf("refused; problems found: %d", len(problems))
}

func printPending(w io.Writer, pending []string) {
	for _, p := range pending {
		fmt.Fprintln(w, "declared, not carried out yet:", p)
	}
}

func printWarnings(w io.Writer, warnings []string) {
	for _, warning := range warnings {
		fmt.Fprintln(w, "warning:", warning)
	}
}
