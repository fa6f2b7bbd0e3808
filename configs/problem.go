package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong in a declaration, and where.
type Problem struct {
	// File is the path as it was given to Load or found in a folder given to it.
	File string `json:"file"`
	// Line and Column count from 1; Line is 0 where the problem is a folder or file as a whole.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Path is the object and the key in it, such as "Tenant/Contoso spec.siteToSite[0].destination".
	Path string `json:"path,omitempty"`
	// Message says what is wrong and what would be right. It never holds a secret.
	Message string `json:"message"`
}

// String is the problem in one line, "file:line:column: path: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Path != "" {
		b.WriteString(": " + p.Path)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

// Problems is everything that is wrong in a set of files, by file and line. It is the error of [Load] when the files
// could be read but what they declare cannot be taken.
type Problems []Problem

// Error lists the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// ordered returns the problems by place, without repetitions.
func (ps Problems) ordered() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message),
		)
	})
	return slices.Compact(ps)
}
