package configs

import (
	"strconv"
	"strings"
)

// path leads from the top of a document to a value in it. The zero-length path is nil. Paths share their beginnings,
// so that walking a large document makes no copies.
type path struct {
	up    *path
	name  string
	index int // counts where name is empty
}

// key is the path to a key of the mapping at p.
func (p *path) key(name string) *path { return &path{up: p, name: name} }

// item is the path to an item of the list at p.
func (p *path) item(i int) *path { return &path{up: p, index: i} }

// at is a path below "spec", given as keys (string) and list indices (int).
func at(steps ...any) *path {
	p := (*path)(nil).key("spec")
	for _, s := range steps {
		switch s := s.(type) {
		case string:
			p = p.key(s)
		case int:
			p = p.item(s)
		}
	}
	return p
}

// steps is the path from the top down.
func (p *path) steps() []*path {
	if p == nil {
		return nil
	}
	return append(p.up.steps(), p)
}

func (p *path) String() string {
	var b strings.Builder
	for _, s := range p.steps() {
		switch {
		case s.name == "":
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case b.Len() > 0:
			b.WriteString("." + s.name)
		default:
			b.WriteString(s.name)
		}
	}
	return b.String()
}
