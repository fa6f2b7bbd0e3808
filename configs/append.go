package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// AppendChanges adds changes to the policy file of a tenant or gateway in a folder: durably, and all of them or none, unless
// the machine fails meanwhile, which may leave the first of them. A line that was torn when it did goes first.
func AppendChanges(dir, name string, changes []Change) error {
	if err := checkName(name, 63); err != nil {
		return fmt.Errorf("open a policy file: %w", err)
	}
	file := filepath.Join(dir, name+policyExt)
	_, err := os.Stat(file)
	isNew := errors.Is(err, os.ErrNotExist)
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the policy file: %w", err)
	}
	err = appendTo(f, changes)
	if isNew && err == nil {
		if err = syncFolder(dir); err != nil {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return errors.Join(err, f.Close())
}

func appendTo(f *os.File, changes []Change) error {
	end, err := wholeLines(f)
	if err != nil {
		return fmt.Errorf("read the end of %s: %w", f.Name(), err)
	}
	var text strings.Builder
	for _, c := range changes {
		line := c.String() + "\n"
		if len(line) > maxStatement {
			return fmt.Errorf("%s: a statement of %d bytes; want at most %d", shorten(line), len(line), maxStatement)
		}
		text.WriteString(line)
	}
	if end+int64(text.Len()) > maxPolicyFile {
		return fmt.Errorf("%s would grow beyond %d bytes; a restart of the daemon compacts it", f.Name(), maxPolicyFile)
	}
	_, err = f.WriteAt([]byte(text.String()), end)
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", f.Name(), err), f.Truncate(end))
	}
	return nil
}

// wholeLines is the size of a file without its torn last line, which is cut off.
func wholeLines(f *os.File) (int64, error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	size, block := end, make([]byte, 4096)
	for end > 0 {
		start := max(0, end-int64(len(block)))
		part := block[:end-start]
		if _, err := f.ReadAt(part, start); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			end = start + int64(i) + 1
			break
		}
		end = start
	}
	if end == size {
		return end, nil
	}
	return end, f.Truncate(end)
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the folder of the policy file: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write folder %s: %w", dir, err)
	}
	return nil
}
