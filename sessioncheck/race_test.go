//go:build race

package sessioncheck

const raceEnabled = true
