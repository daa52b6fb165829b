//go:build !race

package sessioncheck

const raceEnabled = false
