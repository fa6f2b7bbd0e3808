package radius

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

var secretLine = regexp.MustCompile(`(?m)^\s*secret = ([0-9a-f]{64})$`)

// Set makes the configuration the whole of what is in the folder, which it makes, and has a running FreeRADIUS take it
// up: changed users without an interruption, which may take 4 s, everything else by ending it, upon which whoever keeps
// it running starts it anew. Files are replaced one by one where they differ, readable by root and FreeRADIUS only; what
// is not of the configuration any more is removed at the end.
//
// Set may be called at any time: it goes by what a running FreeRADIUS can have read, not by what it changed itself, and
// waits 3 s at most for one that is just being started anew.
//
// The secret between charon and FreeRADIUS is made here once and stays. charon reads it from CharonConf.
func Set(dir string, c Config) error {
	if err := c.check(); err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	if err := makeFolder(dir); err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	secret, err := secretOf(dir)
	if err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	files, err := render(dir, secret, c)
	if err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	wrote, err := write(dir, files)
	if err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	if err := takeUp(dir, files, wrote); err != nil {
		return fmt.Errorf("RADIUS: have FreeRADIUS take up what changed: %w", err)
	}
	return nil
}

// makeFolder makes the folder where it is missing: root's, readable by the group of the user whom Debian's FreeRADIUS
// runs as, and in it one for that user's process id.
func makeFolder(dir string) error {
	group, user := 0, 0
	if freerad, err := userOf("freerad"); err == nil {
		user, group = freerad.uid, freerad.gid
	}
	for _, folder := range []struct {
		path        string
		owner, mode int
	}{{dir, 0, 0o750}, {filepath.Join(dir, runFolder), user, 0o700}} {
		err := os.Mkdir(folder.path, os.FileMode(folder.mode)) //nolint:gosec // of two constants
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.Chown(folder.path, folder.owner, group); err != nil {
			return err
		}
	}
	return nil
}

type account struct{ uid, gid int }

func userOf(name string) (account, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return account{}, err
	}
	uid, err := strconv.Atoi(found.Uid)
	if err != nil {
		return account{}, err
	}
	gid, err := strconv.Atoi(found.Gid)
	return account{uid, gid}, err
}

// CharonConf is the path of the file that charon's strongswan.conf includes.
func CharonConf(dir string) string { return filepath.Join(dir, charonFile) }

// secretOf reads the secret that is in use, or makes one.
func secretOf(dir string) (string, error) {
	b, err := os.ReadFile(CharonConf(dir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	if m := secretLine.FindSubmatch(b); m != nil {
		return string(m[1]), nil
	}
	made := make([]byte, 32)
	_, _ = rand.Read(made)
	return hex.EncodeToString(made), nil
}

// write replaces what differs, and removes what nobody wants any more. The users come last: they name modules.
func write(dir string, files rendered) (wrote bool, err error) {
	for _, name := range slices.SortedFunc(maps.Keys(files), func(a, b string) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), strings.Compare(a, b))
	}) {
		path := filepath.Join(dir, name)
		if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, files[name]) {
			continue
		}
		if err := replace(path, files[name]); err != nil {
			return wrote, err
		}
		wrote = true
	}
	return wrote, sweep(dir, files)
}

func order(name string) int {
	if name == usersFile {
		return 1
	}
	return 0
}

// replace puts a file in the place of another at once. It is root's, and readable by the folder's group, but for charon's,
// which is root's alone.
func replace(path string, content []byte) error {
	var folder syscall.Stat_t
	if err := syscall.Stat(filepath.Dir(path), &folder); err != nil {
		return fmt.Errorf("%s: %w", filepath.Dir(path), err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(content)
	if filepath.Base(path) != charonFile {
		err = errors.Join(err, f.Chown(-1, int(folder.Gid)), f.Chmod(0o640))
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// sweep removes files of ours that are not of the configuration.
func sweep(dir string, files rendered) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		name := e.Name()
		_, wanted := files[name]
		ours := strings.HasPrefix(name, "eap_") || strings.HasPrefix(name, ".new-") || name == serverFile || name == keyFile
		if ours && !wanted {
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}
