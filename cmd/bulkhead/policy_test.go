package main

import (
	"slices"
	"strings"
	"testing"
)

func TestStatementsAreWordsOrQuotedOrLines(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		in   string
		want []string
	}{
		"words":  {args: []string{"no", "lookup-record", "10.0.0.10"}, want: []string{"no lookup-record 10.0.0.10"}},
		"quoted": {args: []string{"no lookup-record 10.0.0.10"}, want: []string{"no lookup-record 10.0.0.10"}},
		"several": {
			args: []string{"no lookup-record 10.0.0.10", "no lookup-record 10.0.0.11"},
			want: []string{"no lookup-record 10.0.0.10", "no lookup-record 10.0.0.11"},
		},
		"lines": {
			args: []string{"-"}, in: "# moved\nno lookup-record 10.0.0.10\n\n  no lookup-record 10.0.0.11 # too",
			want: []string{"no lookup-record 10.0.0.10", "no lookup-record 10.0.0.11 # too"},
		},
		"one word": {args: []string{"nothing"}, want: []string{"nothing"}},
	} {
		got, err := readStatements(test.args, strings.NewReader(test.in))
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, test.want)
		}
	}
}
