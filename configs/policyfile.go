package configs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// policyExt ends the names of policy files, which begin with the name of the tenant or gateway.
const policyExt = ".policy"

// maxPolicyFile bounds a policy file, in bytes: some million statements.
const maxPolicyFile = 1 << 30

// policyFile is what the statements of a tenant or of the gateway are read from. They come after the YAML, and the last
// word counts.
type policyFile struct {
	file     string
	object   string // Tenant/NAME or Gateway/NAME, once it is known
	problems *Problems
	text     string
	used     bool
	// torn is what follows the last line's end: a statement that was being written when the machine failed.
	torn string
}

// readPolicy reads a policy file.
func readPolicy(name string, problems *Problems) (*policyFile, error) {
	text, err := readAtMost(name, maxPolicyFile)
	if err != nil {
		return nil, err
	}
	p := &policyFile{file: name, problems: problems}
	end := strings.LastIndexByte(text, '\n') + 1
	p.text, p.torn = text[:end], strings.TrimSpace(text[end:])
	return p, nil
}

// readAtMost reads a file, but not for ever.
func readAtMost(name string, most int64) (string, error) {
	info, err := os.Stat(name)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s is not a regular file; want one", name) // a pipe would block the daemon
	}
	if info.Size() > most {
		return "", fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	text, err := os.ReadFile(name)
	return string(text), err
}

// name is that of the tenant or gateway that the file is of.
func (p *policyFile) name() string { return strings.TrimSuffix(filepath.Base(p.file), policyExt) }

// bad notes a problem of a statement.
func (p *policyFile) bad(line int, subject, message string) {
	*p.problems = append(*p.problems, Problem{
		File: p.file, Line: line, Column: 1, Path: strings.TrimSpace(p.object + " " + subject), Message: message,
	})
}

// maxBadLines is how many lines of a policy file are complained of: a file of another kind would give a problem a line.
const maxBadLines = 100

// statements hands the statements of the file to take, with their lines. ofGateway tells whose they must be.
func (p *policyFile) statements(ofGateway bool, take func(c Change, line uint32)) {
	p.used = true
	bad, line := 0, 0
	for text := range strings.Lines(p.text) {
		line++
		c, err := parseStatement(strings.TrimSuffix(text, "\n"))
		if err == nil && !c.empty() && c.ofGateway() != ofGateway {
			err = c.misplaced()
		}
		switch {
		case err != nil:
			p.bad(line, "", fmt.Sprintf("%q: %v", shorten(strings.TrimSpace(text)), err))
			if bad++; bad == maxBadLines {
				return
			}
		case !c.empty():
			take(c, uint32(line))
		}
	}
}
