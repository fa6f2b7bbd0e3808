package configs

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// leastCompacted is how many statements a policy file must have for being rewritten to be worth it.
const leastCompacted = 1000

// lineSet is a set of lines of a file.
type lineSet []uint64

func (s *lineSet) add(line uint32) {
	for int(line/64) >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[line/64] |= 1 << (line % 64)
}

func (s lineSet) has(line int) bool { return line/64 < len(s) && s[line/64]>>(line%64)&1 != 0 }

// weigh notes which statements still say something, if that is less than half of them. Each of words yields the lines of
// some of these.
func (p *policyFile) weigh(words ...func(yield func(line uint32))) {
	said := 0
	for _, list := range words {
		list(func(uint32) { said++ })
	}
	if p.count <= leastCompacted || 2*said >= p.count {
		return
	}
	p.long = true
	for _, list := range words {
		list(p.said.add)
	}
}

// CompactPolicies rewrites the policy files of more than a thousand statements most of which say nothing any more, since a
// later one has the last word or what they take away is in no YAML. Comments stay, and what was added since [Load]. A file
// is replaced as a whole or not at all. [AppendChanges] must not run meanwhile.
func (c *Config) CompactPolicies() error {
	var errs []error
	for _, f := range c.standing.long {
		if err := f.compact(); err != nil {
			errs = append(errs, fmt.Errorf("compact policy file %s: %w", f.file, err))
		}
	}
	c.standing.long = nil
	return errors.Join(errs...)
}

func (p *policyFile) compact() error {
	file, err := filepath.EvalSymlinks(p.file)
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	temp, err := os.CreateTemp(dir, "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	err = p.write(temp, file)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return syncFolder(dir)
}

// write makes temp durably what file is to be, with the same owner and mode.
func (p *policyFile) write(temp *os.File, file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if err := temp.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok {
		if err := temp.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	w := bufio.NewWriter(temp)
	if _, err := eachLine(file, func(text string, line int) error {
		if !p.stays(text, line) {
			return nil
		}
		_, err := w.WriteString(text + "\n")
		return err
	}); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return temp.Sync()
}

// stays tells whether a line outlives the compaction.
func (p *policyFile) stays(text string, line int) bool {
	if line > p.lines || p.said.has(line) {
		return true
	}
	c, err := parseStatement(text)
	return err != nil || c.empty()
}
