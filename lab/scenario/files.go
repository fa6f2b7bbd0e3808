package scenario

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// setAside moves a declaration out of the daemon's folder; restore puts it back.
func (w *World) setAside(name string) (restore func() error, err error) {
	file, aside := filepath.Join(w.ConfigDir, name), filepath.Join(filepath.Dir(w.ConfigDir), name)
	if err := os.Rename(file, aside); err != nil {
		return nil, err
	}
	return func() error { return os.Rename(aside, file) }, nil
}

// edit replaces the one place where a declaration says old; restore undoes it.
func (w *World) edit(name, old, replacement string) (restore func() error, err error) {
	file := filepath.Join(w.ConfigDir, name)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if strings.Count(string(text), old) != 1 {
		return nil, fmt.Errorf("%s does not hold %q once", file, old)
	}
	write := func(text string) error { return os.WriteFile(file, []byte(text), 0o600) }
	return func() error { return write(string(text)) }, write(strings.Replace(string(text), old, replacement, 1))
}

// add puts another declaration into the daemon's folder; remove takes it out.
func (w *World) add(name, text string) (path string, remove func() error, err error) {
	path = filepath.Join(w.ConfigDir, name)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return "", nil, fmt.Errorf("%s is there already", path)
	}
	return path, func() error { return os.Remove(path) }, os.WriteFile(path, []byte(text), 0o600)
}

// extend adds text at the end of a declaration.
func (w *World) extend(name, text string) error {
	file := filepath.Join(w.ConfigDir, name)
	old, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(old, text...), 0o600)
}
