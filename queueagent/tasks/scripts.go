// Package tasks is the Redis side of a queue: its keys, the scripts that change them, and
// what can be asked about them. It knows nothing of how tasks are delivered.
package tasks

import (
	"embed"

	"github.com/redis/rueidis"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// Scripts are the state changes of a queue. Each is atomic, so Redis never holds
// half a move; each may be run again after a lost reply. They are the same for all
// queues, and safe for concurrent use.
type Scripts struct {
	claim, ack, nack, bury, renew, reap, pend, resolve, adopt, enqueue, replay *rueidis.Lua
	dead, fsck                                                                 *rueidis.Lua
}

// LoadScripts reads the scripts that are built into the program.
func LoadScripts() (*Scripts, error) {
	s := &Scripts{}
	for name, dst := range map[string]**rueidis.Lua{
		"claim": &s.claim, "ack": &s.ack, "renew": &s.renew, "nack": &s.nack, "bury": &s.bury,
		"reap": &s.reap, "pend": &s.pend, "resolve": &s.resolve, "adopt": &s.adopt,
		"enqueue": &s.enqueue, "replay": &s.replay, "dead": &s.dead, "fsck": &s.fsck,
	} {
		var text []byte
		for _, file := range parts(name) {
			part, err := scriptFiles.ReadFile("scripts/" + file + ".lua")
			if err != nil {
				return nil, err
			}
			text = append(text, part...)
		}
		*dst = rueidis.NewLuaScript(string(text))
	}
	return s, nil
}

// parts names the files that make up a script.
func parts(name string) []string {
	switch name {
	case "claim", "adopt":
		return []string{"common", "stream", name}
	case "renew", "dead":
		return []string{name}
	}
	return []string{"common", name}
}
