package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"bulkhead/api"
)

func TestTableHasAColumnPerTaggedFieldAndADashForWhatIsEmpty(t *testing.T) {
	rows := []struct {
		Name   string   `table:"NAME"`
		Hidden string   // no column
		VSIDs  []uint32 `table:"VSIDS"`
		Error  string   `table:"ERROR"`
	}{
		{Name: "Contoso", Hidden: "x", VSIDs: []uint32{5001, 6001}},
		{Name: "Woodgrove", Error: "line one\nline two\x1b[31m"},
	}
	var out strings.Builder
	if err := printTable(&out, reflect.ValueOf(rows)); err != nil {
		t.Fatal(err)
	}
	want := "NAME       VSIDS      ERROR\n" +
		"Contoso    5001,6001  -\n" +
		"Woodgrove  -          line one line two [31m\n"
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", out.String(), want)
	}
}

func TestEveryViewOfTheDaemonHasAShowCommand(t *testing.T) {
	var names []string
	for _, v := range append(views, bgpViews...) {
		names = append(names, v.name)
	}
	slices.Sort(names)
	if !slices.Equal(names, api.Views()) {
		t.Errorf("commands %v, daemon's views %v", names, api.Views())
	}
}

func TestUnknownViewIsAnErrorThatNamesTheOthers(t *testing.T) {
	for _, args := range [][]string{{"show"}, {"show", "tunels"}} {
		root := rootCommand()
		root.SetArgs(args)
		err := root.Execute()
		if err == nil || !strings.Contains(err.Error(), "tunnels") {
			t.Errorf("%q: %v", args, err)
		}
	}
}
