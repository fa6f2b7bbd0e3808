package bgp_test

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"bulkhead/bgp"
	"bulkhead/bgp/internal/wire"
)

// protocols are the shapes of what daemons and speakers tell each other, by the protocol's number.
var protocols = map[int]string{1: "5a6312e96d869f4b"}

// A speaker goes on after an upgrade where it speaks the daemon's protocol. What one of them does not know of is lost without
// a word: a password, say.
func TestWhatIsToldIsAnotherOnlyInAnotherProtocol(t *testing.T) {
	var text strings.Builder
	for _, told := range []any{
		bgp.Config{}, bgp.Status{}, bgp.PeerState{}, bgp.RouteQuery{}, bgp.Route{},
		wire.StopRequest{}, wire.TunnelsRequest{}, wire.ResetRequest{},
	} {
		describe(&text, reflect.TypeOf(told))
	}
	shape := fmt.Sprintf("%x", sha256.Sum256([]byte(text.String())))[:16]
	if protocols[wire.Protocol] != shape {
		t.Errorf("what daemons and speakers tell each other is another than protocol %d was: if that was in a release, raise "+
			"wire.Protocol; then put down the shape %q for it", wire.Protocol, shape)
	}
}

// describe writes down a type with all that it consists of.
func describe(text *strings.Builder, t reflect.Type) {
	switch {
	case t.Kind() == reflect.Struct && strings.HasPrefix(t.PkgPath(), "bulkhead/"):
		text.WriteString("{")
		for i := range t.NumField() {
			fmt.Fprintf(text, "%s %q ", t.Field(i).Name, t.Field(i).Tag)
			describe(text, t.Field(i).Type)
		}
		text.WriteString("}")
	case t.Kind() == reflect.Pointer, t.Kind() == reflect.Slice:
		text.WriteString(t.Kind().String() + " ")
		describe(text, t.Elem())
	default:
		text.WriteString(t.Kind().String() + " " + t.String() + ";")
	}
}
