// Package peers holds the configurations of what pillion is measured beside, and its
// own: the suite runs with them as they are here.
package peers

import (
	"bytes"
	"embed"
	"fmt"
	"text/template"
)

//go:embed *.tmpl
var files embed.FS

// Settings fill in a configuration.
type Settings struct {
	Dir           string // for what the server writes, in memory where there is a tmpfs
	User          string
	Addr          string // host:port to listen at
	Host          string // of Addr
	Port          string // of Addr
	Origin        string // host:port of the application
	OriginHost    string
	OriginPort    string
	RedisHost     string
	RedisPort     string
	Workers       int
	Connections   int
	Files         int      // open files that a process may have
	OpenFileCache int      // of those, what nginx may keep open
	Lua           bool     // check sessions
	Modules       []string // of nginx
	Services      []string // first segments of paths, with a rule each
	Memory        string   // of pillion's cache
}

// Render gives a configuration by the name of its file.
func Render(name string, s Settings) (string, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(files, name)
	if err != nil {
		return "", fmt.Errorf("bench/peers/%s: %w", name, err)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, s); err != nil {
		return "", fmt.Errorf("bench/peers/%s: %w", name, err)
	}
	return b.String(), nil
}

// Source gives a configuration as it is in its file.
func Source(name string) (string, error) {
	b, err := files.ReadFile(name)
	return string(b), err
}
