package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"bulkhead/api"
)

func policyCommand(runDir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "policy NAME STATEMENT... | -",
		Short: "Change the policy of a tenant or of the gateway while it runs, object by object",
		Long: `Change the policy of the tenant or gateway NAME: lookup records and customer routes of a tenant, provider routes and
provider addresses of the gateway. All of the statements come in force or none does. They are written to NAME.policy in
the folder of the declarations, so that they outlive the daemon.

A statement is given as its words, or each of several in quotes; "-" reads them from standard input, one a line.`,
		Example: `  bulkhead policy Contoso lookup-record 10.0.0.10 vsid 5001 mac 60:00:60:00:01:01 pa 192.168.0.33
  bulkhead policy Contoso "no lookup-record 10.0.0.10" "no lookup-record 10.0.0.11"
  bulkhead policy gw1 provider-route 192.168.50.0/24 next-hop 192.168.0.1
  bulkhead policy Contoso - < records.txt`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			statements, err := readStatements(args[1:], cmd.InOrStdin())
			if err != nil {
				return err
			}
			answer, err := api.NewClient(*runDir).ChangePolicy(cmd.Context(), args[0], statements)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "changed: %s, statements: %d\n", args[0], answer.Changes)
			return nil
		},
	}
}

// readStatements takes statements from the command line, or from in where that says "-". No statement is one word, so
// arguments without spaces are the words of one.
func readStatements(args []string, in io.Reader) ([]string, error) {
	if len(args) != 1 || args[0] != "-" {
		for _, arg := range args {
			if strings.ContainsAny(arg, " \t") {
				return args, nil
			}
		}
		return []string{strings.Join(args, " ")}, nil
	}
	var statements []string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if line := strings.TrimSpace(lines.Text()); line != "" && !strings.HasPrefix(line, "#") {
			statements = append(statements, line)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read statements: %w", err)
	}
	return statements, nil
}
