package seat

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test binary take a seat too: a lock keeps out other processes only.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "sit" {
		if err := takeAndLook(os.Args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("sits")
		_, _ = os.Stdin.Read(make([]byte, 1)) // until it is let go
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// takeAndLook takes a seat and then does what some do that look for sockets of theirs: copy each descriptor, and close it.
func takeAndLook(path string) error {
	s, err := Take(path)
	if err != nil {
		return err
	}
	seats = append(seats, s)
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, f := range files {
		fd, err := strconv.Atoi(f.Name())
		if err != nil {
			return err
		}
		if again, err := unix.Dup(fd); err == nil {
			err = unix.Close(again)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// seats are kept until the process ends.
var seats []*Seat

// sit has another process take the seat; let it go by closing what is returned.
func sit(t *testing.T, path string) (pid int, leave func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "sit", path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 5)
	if _, err := out.Read(line); err != nil || string(line) != "sits\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	return cmd.Process.Pid, func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestASeatIsTakenForAsLongAsItsProcessLives(t *testing.T) {
	path := Path(t.TempDir(), "Contoso")
	if pid, err := Holder(t.Context(), path); pid != 0 || err != nil {
		t.Errorf("before anybody came, %d has it (%v)", pid, err)
	}
	want, leave := sit(t, path)
	if pid, err := Holder(t.Context(), path); pid != want || err != nil {
		t.Errorf("%d has it, want %d (%v)", pid, want, err)
	}
	if _, err := Take(path); !errors.Is(err, ErrTaken) {
		t.Errorf("a second one was told %v", err)
	}
	if err := Clear(path); !errors.Is(err, ErrTaken) {
		t.Errorf("clearing was told %v", err)
	}
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatalf("the refusals broke the socket: %v", err)
	}
	conn.Close()
	leave()
	if pid, err := Holder(t.Context(), path); pid != 0 || err != nil {
		t.Errorf("after it left, %d has it (%v)", pid, err)
	}
	if tenants, err := Tenants(filepath.Dir(path)); err != nil || !slices.Equal(tenants, []string{"Contoso"}) {
		t.Errorf("seats: %v, %v", tenants, err)
	}
	again, leave := sit(t, path)
	if pid, err := Holder(t.Context(), path); pid != again || err != nil {
		t.Errorf("%d has it, want %d (%v)", pid, again, err)
	}
	leave()
	if err := Clear(path); err != nil {
		t.Error(err)
	}
	if tenants, err := Tenants(filepath.Dir(path)); err != nil || len(tenants) != 0 {
		t.Errorf("cleared, seats: %v, %v", tenants, err)
	}
}

func TestClearingWhatIsNotThereIsNoMistake(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	if err := Clear(Path(dir, "Contoso")); err != nil {
		t.Error(err)
	}
	if tenants, err := Tenants(dir); err != nil || len(tenants) != 0 {
		t.Errorf("seats: %v, %v", tenants, err)
	}
}

func TestAFolderMayHaveALongerNameThanASocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 200))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := Path(dir, strings.Repeat("T", 63))
	_, leave := sit(t, path)
	defer leave()
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
