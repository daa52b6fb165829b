package result

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/pillion-proxy/pillion/bench/proc"
)

// Machine is what the run was on.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	System string `json:"system"`
}

// ThisMachine describes the machine that we are on.
func ThisMachine() Machine {
	m := Machine{Cores: proc.Cores()}
	m.CPU = after("/proc/cpuinfo", "model name\t: ")
	m.System = strings.Trim(after("/etc/os-release", "PRETTY_NAME="), `"`)
	var kb int64
	if _, err := fmt.Sscan(after("/proc/meminfo", "MemTotal:"), &kb); err == nil {
		m.Memory = fmt.Sprintf("%.0f GiB", float64(kb)/(1<<20))
	}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		m.Kernel = unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
	}
	return m
}

// after gives the rest of the first line of a file that begins so.
func after(path, prefix string) string {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}
