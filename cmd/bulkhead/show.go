package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"bulkhead/api"
	"bulkhead/gateway"
)

// view is one thing that can be shown.
type view struct {
	name, short string
	rows        func() any // a pointer to an empty slice of the view's rows
}

var views = []view{
	{"compartments", "Tenants' compartments and whether they are as declared", rowsOf[gateway.CompartmentRow]},
	{"interfaces", "Interfaces of the compartments, with what passed through them", rowsOf[gateway.InterfaceRow]},
	{"tunnels", "Site-to-site tunnels with their security associations", rowsOf[gateway.TunnelRow]},
	{"limits", "Rate limits of site-to-site interfaces, with what they passed and dropped", rowsOf[gateway.LimitRow]},
	{"filters", "Static filters, with what each rule has counted", rowsOf[gateway.FilterRow]},
	{"certificates", "Certificates and revocation lists in use, and when they end", rowsOf[gateway.CertificateRow]},
	{"nat", "External addresses and static mappings", rowsOf[gateway.NATRow]},
	{"lookup-records", "Customer addresses and where they live, as door 1 has them", rowsOf[gateway.RecordRow]},
	{"customer-routes", "Routes of the virtual networks, as door 1 has them", rowsOf[gateway.CustomerRouteRow]},
	{"provider-addresses", "The gateway's addresses on the provider network", rowsOf[gateway.ProviderAddressRow]},
	{"provider-routes", "Routes on the provider network", rowsOf[gateway.ProviderRouteRow]},
	{"traffic", "What passed the doors, by virtual subnet and direction", rowsOf[gateway.TrafficRow]},
	{"drops", "What was dropped, where and why", rowsOf[gateway.DropRow]},
}

func rowsOf[T any]() any { return new([]T) }

func showCommand(runDir *string) *cobra.Command {
	var output string
	show := &cobra.Command{
		Use:   "show",
		Short: "Show the state as the kernel and charon have it",
		RunE: func(_ *cobra.Command, args []string) error {
			asked := strings.Join(append([]string{"show"}, args...), " ")
			return fmt.Errorf("%s: there is no such view; there are %s", asked, strings.Join(api.Views(), ", "))
		},
		Args: cobra.ArbitraryArgs,
	}
	show.PersistentFlags().StringVarP(&output, "output", "o", "table", "table or json")
	for _, v := range views {
		show.AddCommand(&cobra.Command{
			Use:   v.name,
			Short: v.short,
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				return showRows(cmd, *runDir, output, v, nil)
			},
		})
	}
	show.AddCommand(showBGPCommand(runDir, &output))
	return show
}

// showRows reads what a query chooses of a view and prints it.
func showRows(cmd *cobra.Command, runDir, output string, v view, query url.Values) error {
	if output != "table" && output != "json" {
		return fmt.Errorf("--output %q: use table or json", output)
	}
	rows := v.rows()
	if err := api.NewClient(runDir).ShowChosen(cmd.Context(), v.name, query, rows); err != nil {
		return err
	}
	if output == "json" {
		encoder := json.NewEncoder(cmd.OutOrStdout())
		encoder.SetIndent("", "  ")
		return encoder.Encode(rows)
	}
	return printTable(cmd.OutOrStdout(), reflect.ValueOf(rows).Elem())
}

// printTable prints rows, a slice of structs, with a column for each field that has a `table` tag: its heading.
func printTable(w io.Writer, rows reflect.Value) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := rows.Type().Elem()
	var fields []int
	var headings []string
	for i := range row.NumField() {
		if heading := row.Field(i).Tag.Get("table"); heading != "" {
			fields = append(fields, i)
			headings = append(headings, heading)
		}
	}
	_, err := fmt.Fprintln(table, strings.Join(headings, "\t"))
	for i := range rows.Len() {
		cells := make([]string, len(fields))
		for j, field := range fields {
			cells[j] = cell(rows.Index(i).Field(field))
		}
		_, lineErr := fmt.Fprintln(table, strings.Join(cells, "\t"))
		err = errors.Join(err, lineErr)
	}
	return errors.Join(err, table.Flush())
}

// cell prints one value; what is empty is a dash, so that columns stay countable.
func cell(v reflect.Value) string {
	var text string
	at, isTime := v.Interface().(*time.Time)
	address, isAddress := v.Interface().(interface{ IsValid() bool })
	path, isPath := v.Interface().(gateway.ASPath)
	switch {
	case isAddress && !address.IsValid():
	case isPath:
		text = strings.Join(path, " ")
	case isTime && at != nil:
		text = at.UTC().Format(time.RFC3339)
	case v.Kind() == reflect.Pointer && v.IsNil():
	case v.Kind() == reflect.Pointer:
		text = fmt.Sprint(v.Elem().Interface())
	case v.Kind() == reflect.Slice:
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = fmt.Sprint(v.Index(i).Interface())
		}
		text = strings.Join(parts, ",")
	default:
		text = fmt.Sprint(v.Interface())
	}
	// An operator's terminal is not the place for line breaks or control characters that came from a peer, be they of one byte
	// or of two (U+009B begins a command as well), nor for what turns the direction of writing.
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if text == "" {
		return "-"
	}
	return text
}
