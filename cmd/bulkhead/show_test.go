package main

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"bulkhead/api"
	"bulkhead/gateway"
)

func TestTableHasAColumnPerTaggedFieldAndADashForWhatIsEmpty(t *testing.T) {
	rows := []struct {
		Name   string         `table:"NAME"`
		Hidden string         // no column
		VSIDs  []uint32       `table:"VSIDS"`
		Path   gateway.ASPath `table:"AS PATH"`
		Via    netip.Addr     `table:"VIA"`
		MED    *uint32        `table:"MED"`
		Error  string         `table:"ERROR"`
	}{
		{Name: "Contoso", Hidden: "x", VSIDs: []uint32{5001, 6001}, Path: gateway.ASPath{"65413", "65414"}, MED: new(uint32)},
		{Name: "Woodgrove", Error: "line one\nline two\x1b[31m\u009b\u202e"},
	}
	var out strings.Builder
	if err := printTable(&out, reflect.ValueOf(rows)); err != nil {
		t.Fatal(err)
	}
	want := "NAME       VSIDS      AS PATH      VIA  MED  ERROR\n" +
		"Contoso    5001,6001  65413 65414  -    0    -\n" +
		"Woodgrove  -          -            -    -    line one line two [31m  \n"
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
