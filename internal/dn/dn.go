// Package dn reads distinguished names, the subjects of certificates, as charon does, so that what the declaration tells
// apart charon tells apart too.
package dn

import (
	"cmp"
	"strings"
)

// names are what charon calls some parts of subjects too.
var names = map[string]string{
	"email": "e", "emailaddress": "e", "employeenumber": "en", "unstructuredname": "un", "unstructuredaddress": "ua",
}

// Part is one part of a subject, such as "cn=ny", in the one form that all of its spellings have; it expects lower case.
// The name ends at a space too, and any number of spaces and equals signs may follow it.
func Part(part string) string {
	part = strings.TrimSpace(part)
	key, value := part, ""
	if end := strings.IndexAny(part, " ="); end >= 0 {
		key, value = part[:end], strings.TrimLeft(part[end:], " =")
	}
	return cmp.Or(names[key], key) + "=" + value
}
