package configs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// policyExt ends the names of policy files, which begin with the name of the tenant or gateway.
const policyExt = ".policy"

// maxPolicyFile bounds a policy file, in bytes: some million statements.
const maxPolicyFile = 1 << 30

// maxStatement bounds a line of a policy file, in bytes.
const maxStatement = 64 << 10

// policyFile is what the statements of a tenant or of the gateway are read from. They come after the YAML, and the last
// word counts.
type policyFile struct {
	file     string
	object   string // Tenant/NAME or Gateway/NAME, once it is known
	problems *Problems
	bads     int // how many of the problems are this file's
	used     bool
	// lines and count are how many lines and statements the file has; torn is what follows the last line's end: a statement
	// that was being written when the machine failed. err is why the file could not be read to its end.
	lines, count int
	torn         string
	err          error
	// long is set if the file is to be compacted; said holds the lines that still say something then.
	long bool
	said lineSet
}

// newPolicyFile makes sure that a file can be read, and to its end.
func newPolicyFile(name string, problems *Problems) (*policyFile, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file; want one", name) // a pipe would block the daemon
	case info.Size() > maxPolicyFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", name, maxPolicyFile)
	}
	return &policyFile{file: name, problems: problems}, nil
}

// name is that of the tenant or gateway that the file is of.
func (p *policyFile) name() string { return strings.TrimSuffix(filepath.Base(p.file), policyExt) }

// maxBadLines is how many mistakes of a policy file are told: there may be one in each of a million lines.
const maxBadLines = 100

// bad notes a problem of a statement.
func (p *policyFile) bad(line int, subject, message string) {
	switch p.bads++; {
	case p.bads > maxBadLines:
		return
	case p.bads == maxBadLines:
		message += "; what else may be wrong in this file is not listed"
	}
	*p.problems = append(*p.problems, Problem{
		File: p.file, Line: line, Column: 1, Path: strings.TrimSpace(p.object + " " + subject), Message: message,
	})
}

// statements hands the statements of the file to take, with their lines. ofGateway tells whose they must be.
func (p *policyFile) statements(ofGateway bool, take func(c Change, line uint32)) {
	p.used = true
	p.torn, p.err = eachLine(p.file, func(text string, line int) error {
		p.lines = line
		c, err := parseStatement(text)
		if err == nil && !c.empty() && c.ofGateway() != ofGateway {
			err = c.misplaced()
		}
		switch {
		case err != nil:
			p.bad(line, "", fmt.Sprintf("%q: %v", shorten(strings.TrimSpace(text)), err))
		case !c.empty():
			p.count++
			take(c, uint32(line))
		}
		return nil
	})
}

// eachLine reads a file line by line, so that a large one takes no memory. What has no line feed behind it is no line;
// it is given back without white space.
func eachLine(file string, take func(text string, line int) error) (torn string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r := bufio.NewReaderSize(f, maxStatement)
	for line := 1; ; line++ {
		text, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF):
			return strings.TrimSpace(string(text)), nil
		case errors.Is(err, bufio.ErrBufferFull):
			torn := shorten(strings.TrimSpace(string(text)))
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = r.ReadSlice('\n')
			}
			if errors.Is(err, io.EOF) {
				return torn, nil // a file system may leave many zeros where it was to write many statements
			}
			return "", fmt.Errorf("%s:%d: a line longer than %d bytes; want a statement", file, line, maxStatement)
		case err != nil:
			return "", err
		}
		if err := take(string(text[:len(text)-1]), line); err != nil {
			return "", err
		}
	}
}
