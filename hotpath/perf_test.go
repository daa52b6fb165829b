//go:build linux && !race

package hotpath

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// perf counts events of a process while work runs, in sum.
func perf(pid int, events []string, work func()) (total int64, err error) {
	path, err := exec.LookPath("perf")
	if err != nil {
		return 0, errors.New("there is no perf")
	}
	var out bytes.Buffer
	// The control pipes say when counting has begun; "enable" is answered with "ack".
	control, controlIn, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	ackOut, ack, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer controlIn.Close()
	defer ackOut.Close()
	cmd := exec.Command(path, "stat", "-x,", "-D", "-1", "--control", "fd:3,4", "-e", strings.Join(events, ","), "-p", strconv.Itoa(pid))
	cmd.Stderr, cmd.ExtraFiles = &out, []*os.File{control, ack}
	err = cmd.Start()
	_ = control.Close()
	_ = ack.Close()
	if err != nil {
		return 0, err
	}
	if err := enable(controlIn, ackOut); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return 0, fmt.Errorf("perf does not count: %s", firstLine(out.String()))
	}
	work()
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // with the signal
	return sum(out.String())
}

func enable(control, ack *os.File) error {
	if _, err := control.WriteString("enable\n"); err != nil {
		return err
	}
	_ = ack.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := ack.Read(make([]byte, 16))
	return err
}

// sum adds the counts of "perf stat -x,": value, unit, event, …
func sum(text string) (total int64, err error) {
	counted := false
	for line := range strings.Lines(text) {
		value, rest, ok := strings.Cut(strings.TrimSpace(line), ",")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil { // "<not supported>"
			return 0, fmt.Errorf("%s %s", value, strings.Trim(rest, ","))
		}
		total, counted = total+n, true
	}
	if !counted {
		return 0, fmt.Errorf("perf said %s", firstLine(text))
	}
	return total, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}
