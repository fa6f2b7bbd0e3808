package configs

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The decoder and the JSON Schema both go by these: the `yaml` tag of a field is its key, the `rule` tag holds
//
//	required      the key must be there
//	min=, max=    bounds of a number or duration, which needs max
//	seconds       a duration is in whole seconds
//	default=      value when the key is left out
//	host          a prefix is an address with its subnet's length, not a network
//	unicast       an address must be one that a single machine can have

// rules are what the `rule` tag of a field says of its value, and of the items where it is a list.
type rules struct {
	min, max               int64 // of a duration in nanoseconds
	host, unicast, seconds bool
}

// field is a struct field that the YAML can set.
type field struct {
	rules
	name     string
	index    []int
	required bool
	fallback string
	// owner and goName lead to the comment that describes the field.
	owner, goName string
	typ           reflect.Type
}

var fieldCache sync.Map // reflect.Type -> []field

// fieldsOf lists the keys of a struct, those of embedded structs included.
func fieldsOf(t reflect.Type) []field {
	if cached, ok := fieldCache.Load(t); ok {
		return cached.([]field)
	}
	var fields []field
	for i := range t.NumField() {
		sf := t.Field(i)
		name, options, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			for _, f := range fieldsOf(sf.Type) {
				f.index = append([]int{i}, f.index...)
				fields = append(fields, f)
			}
		case name != "" && name != "-":
			f := field{name: name, index: []int{i}, owner: t.Name(), goName: sf.Name, typ: sf.Type}
			f.parse(sf.Tag.Get("rule"))
			fields = append(fields, f)
		}
	}
	fieldCache.Store(t, fields)
	return fields
}

func (f *field) parse(tag string) {
	for rule := range strings.SplitSeq(tag, ",") {
		name, value, _ := strings.Cut(rule, "=")
		switch name {
		case "":
		case "required":
			f.required = true
		case "host":
			f.host = true
		case "unicast":
			f.unicast = true
		case "seconds":
			f.seconds = true
		case "default":
			f.fallback = value
		case "min":
			f.min = f.bound(value)
		case "max":
			f.max = f.bound(value)
		default:
			panic(fmt.Sprintf("configs: unknown rule %q of %s.%s", rule, f.owner, f.goName))
		}
	}
}

// bound is a bound of the field's value, a number or a duration.
func (f *field) bound(s string) int64 {
	if f.typ == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(s)
		if err != nil {
			panic("configs: " + err.Error())
		}
		return int64(d)
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("configs: " + err.Error())
	}
	return i
}

// hasFallbacks tells whether leaving a mapping out altogether sets values in it.
func hasFallbacks(t reflect.Type) bool {
	for _, f := range fieldsOf(t) {
		if f.fallback != "" {
			return true
		}
	}
	return false
}
