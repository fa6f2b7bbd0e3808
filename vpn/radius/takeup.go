package radius

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// reloadPause is how far a SIGHUP must be from FreeRADIUS's start and from the one before: by a clock of whole
	// seconds it ignores one within two seconds, and believes to have read the files.
	reloadPause = 4 * time.Second
	// startPatience and startPause are how long, and how often, a FreeRADIUS that has run before is looked for.
	startPatience, startPause = 3 * time.Second, 50 * time.Millisecond
	// ticks is the kernel's USER_HZ, the unit of a process's start in /proc.
	ticks = 100
)

// takeUp signals a running FreeRADIUS that may have read older files than those that are there. If files were written just
// now, one that is being started anew is waited for: it may have read the older ones already.
func takeUp(dir string, files rendered, wrote bool) error {
	pid, err := running(dir)
	for end := time.Now().Add(startPatience); wrote && pid == 0 && err == nil && time.Now().Before(end); {
		if _, never := changedAt(filepath.Join(dir, runFolder, pidFile)); never != nil {
			break
		}
		<-time.After(startPause)
		pid, err = running(dir)
	}
	if err != nil || pid == 0 {
		return err
	}
	started, err := startOf(pid)
	if err != nil {
		return err
	}
	for name := range files {
		if name == usersFile || name == charonFile {
			continue
		}
		if changed, err := changedAt(filepath.Join(dir, name)); err != nil || changed.After(started) {
			return errors.Join(err, signal(pid, syscall.SIGTERM))
		}
	}
	return reload(dir, pid, started)
}

// reload has the users read again where they may be newer than what was read.
func reload(dir string, pid int, started time.Time) error {
	users, marker := filepath.Join(dir, usersFile), filepath.Join(dir, runFolder, reloadFile)
	changed, err := changedAt(users)
	if err != nil {
		return err
	}
	read := started
	reloaded, err := changedAt(marker)
	switch {
	case err == nil && reloaded.After(started):
		read = reloaded
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	}
	if !changed.After(read) {
		return nil
	}
	loaded, err := changedAt(filepath.Join(dir, runFolder, pidFile)) // it is written once all is read
	if err != nil {
		return err
	}
	for _, last := range []time.Time{loaded, read} {
		if wait := reloadPause - time.Since(last); wait > 0 && wait <= reloadPause {
			<-time.After(wait)
		}
	}
	// A file of the same second as the one that was read would be taken for that one. The marker is older than the
	// reading, so that a change meanwhile counts as unread.
	now := time.Now()
	if err := errors.Join(os.Chtimes(users, now, now), signal(pid, syscall.SIGHUP)); err != nil {
		return err
	}
	return errors.Join(os.WriteFile(marker, nil, 0o600), os.Chtimes(marker, now, now))
}

func changedAt(path string) (time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
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

// startOf is when a process started, to 10 ms (proc(5)). FreeRADIUS reads its files later than that.
func startOf(pid int) (time.Time, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return time.Time{}, err
	}
	now := time.Now()
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, err
	}
	// The second field, in parentheses, may contain anything; the start is the 22nd.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return time.Time{}, fmt.Errorf("/proc/%d/stat has no start: %q", pid, stat)
	}
	start, err := strconv.ParseFloat(fields[19], 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	up, err := strconv.ParseFloat(strings.Fields(string(uptime) + " 0")[0], 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("/proc/uptime: %w", err)
	}
	return now.Add(-time.Duration((up - start/ticks) * float64(time.Second))), nil
}

// signal is no error where the process has ended.
func signal(pid int, s syscall.Signal) error {
	if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal process %d: %w", pid, err)
	}
	return nil
}
