package radius

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// reloadPause is how far apart two reloads must be: FreeRADIUS ignores a SIGHUP that comes within two seconds, by a
// clock of whole seconds, of the one before.
const reloadPause = 3 * time.Second

var secretLine = regexp.MustCompile(`(?m)^\s*secret = ([0-9a-f]{64})$`)

// Set makes the configuration the whole of what is in the folder, which it makes, and has a running FreeRADIUS take
// it up: changed users without an interruption, everything else by ending it, upon which whoever keeps it running starts
// it anew. Nothing happens where nothing differs. Files are replaced one by one, readable by root and FreeRADIUS only; what
// is not of the configuration any more is removed at the end.
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
	changed, err := write(dir, files)
	if err != nil {
		return fmt.Errorf("RADIUS: %w", err)
	}
	switch {
	case len(changed) == 0:
		return nil
	case len(changed) == 1 && changed[usersFile]:
		err = signal(dir, syscall.SIGHUP)
	default:
		err = signal(dir, syscall.SIGTERM)
	}
	if err != nil {
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
func write(dir string, files rendered) (changed map[string]bool, err error) {
	changed = map[string]bool{}
	for name, content := range files {
		if old, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(old, content) {
			changed[name] = true
		}
	}
	if pid, err := running(dir); err != nil {
		return nil, err
	} else if pid != 0 && changed[usersFile] {
		awaitReload(filepath.Join(dir, usersFile))
	}
	for name := range changed {
		if err := replace(filepath.Join(dir, name), files[name]); err != nil {
			return nil, err
		}
	}
	return changed, sweep(dir, files, changed)
}

// awaitReload waits until a reload will be heeded.
func awaitReload(users string) {
	if info, err := os.Stat(users); err == nil {
		if wait := reloadPause - time.Since(info.ModTime()); wait > 0 && wait <= reloadPause {
			<-time.After(wait)
		}
	}
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
func sweep(dir string, files rendered, changed map[string]bool) error {
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
			changed[name] = true
			errs = append(errs, os.Remove(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

// running is the process id of the FreeRADIUS that uses the folder, 0 where there is none. One that was killed leaves its
// number behind, which may be another program's by now.
func running(dir string) (int, error) {
	path := filepath.Join(dir, runFolder, pidFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s holds no process id: %q", path, b)
	}
	arguments, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(arguments, []byte("freeradius\x00")) || !bytes.Contains(arguments, []byte("\x00"+dir)) {
		return 0, nil //nolint:nilerr // it does not run any more
	}
	return pid, nil
}

// signal tells a running FreeRADIUS.
func signal(dir string, s syscall.Signal) error {
	pid, err := running(dir)
	if err != nil || pid == 0 {
		return err
	}
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}
