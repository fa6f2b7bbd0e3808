package configs

import "fmt"

// spot is where something is declared: at a path of a document, or on a line of a policy file.
type spot struct {
	doc *document
	p   *path

	policy  *policyFile
	line    int
	subject string // of the statement
}

// key is the spot of a key of the object at s. A statement is one spot.
func (s spot) key(names ...string) spot {
	if s.policy == nil {
		for _, name := range names {
			if name != "" {
				s.p = s.p.key(name)
			}
		}
	}
	return s
}

// bad notes a problem of what is declared at s.
func (s spot) bad(format string, args ...any) {
	if s.policy == nil {
		s.doc.bad(s.p, format, args...)
		return
	}
	s.policy.bad(s.line, s.subject, fmt.Sprintf(format, args...))
}

// place names s for a message about another spot that clashes with it.
func (s spot) place() string {
	if s.policy == nil {
		return s.doc.place(s.p)
	}
	return fmt.Sprintf("%s %s (%s:%d)", s.policy.object, s.subject, s.policy.file, s.line)
}
