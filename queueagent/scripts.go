package queueagent

import (
	"embed"

	"github.com/redis/rueidis"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts are the state changes of a queue. Each is atomic, so Redis never holds
// half a move; each may be run again after a lost reply.
type scripts struct {
	claim, ack, nack, bury, renew, reap *rueidis.Lua
}

func loadScripts() (*scripts, error) {
	common, err := scriptFiles.ReadFile("scripts/common.lua")
	if err != nil {
		return nil, err
	}
	s := &scripts{}
	for _, f := range []struct {
		name   string
		dst    **rueidis.Lua
		common bool
	}{
		{"claim", &s.claim, false}, {"ack", &s.ack, false}, {"renew", &s.renew, false},
		{"nack", &s.nack, true}, {"bury", &s.bury, true}, {"reap", &s.reap, true},
	} {
		text, err := scriptFiles.ReadFile("scripts/" + f.name + ".lua")
		if err != nil {
			return nil, err
		}
		if f.common {
			text = append(append([]byte{}, common...), text...)
		}
		*f.dst = rueidis.NewLuaScript(string(text))
	}
	return s, nil
}
