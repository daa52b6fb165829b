//go:build linux && amd64 && !race

package hotpath

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// spinner names the variable with which this test program becomes the one that
// TestInstructions counts: it answers each byte after so many loops.
const spinner = "HOTPATH_SPINNER"

func TestMain(m *testing.M) {
	if loops, err := strconv.Atoi(os.Getenv(spinner)); err == nil {
		spin(os.Getenv(spinner+"_SOCKET"), loops)
		return
	}
	os.Exit(m.Run())
}

func spin(socket string, loops int) {
	nc, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	b := make([]byte, 1)
	for {
		if _, err := nc.Read(b); err != nil {
			return
		}
		for i := range loops {
			b[0] ^= byte(i)
		}
		if _, err := nc.Write(b); err != nil {
			return
		}
	}
}

type spinning struct {
	pid int
	ask func()
}

func startSpinner(t *testing.T, loops int) spinning {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), spinner+"="+strconv.Itoa(loops), spinner+"_SOCKET="+socket, "GOMAXPROCS=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close(); _ = cmd.Wait() })
	b := make([]byte, 1)
	ask := func() {
		_, err := nc.Write(b)
		if err == nil {
			_, err = nc.Read(b)
		}
		if err != nil {
			t.Error(err)
		}
	}
	ask()
	return spinning{cmd.Process.Pid, ask}
}
