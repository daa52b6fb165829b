//go:build profile

package main

import (
	"os"
	"runtime/pprof"
)

// profileDir is set by the linker, as `make pgo` does: -X main.profileDir=/tmp/x.
var profileDir string

// profiled runs fn, and leaves a CPU profile of that in profileDir.
func profiled(fn func() error) error {
	f, err := os.CreateTemp(profileDir, "*.cpu")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	return fn()
}
