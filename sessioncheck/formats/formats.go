// Package formats knows how frameworks write sessions: the Redis key, the cookie and
// what proves that the framework made it, and the stored value.
//
// What is stored is read into a tree of map[string]any, []any, string, json.Number,
// bool, nil and Opaque. Every reader is bounded in size, depth and elements, and none
// runs or builds anything that the data names.
package formats

import (
	"slices"
	"time"
)

// The bounds of every reader.
const (
	MaxBytes    = 64 << 10
	MaxDepth    = 32
	maxElements = 16 << 10
)

// Opaque stands for a value that is there and that is not read, such as an object.
type Opaque struct{}

// Need says whether a format has a use for secrets.
type Need uint8

// A format may have none, take them or need one.
const (
	NoSecrets Need = iota
	OptionalSecrets
	RequiredSecrets
)

// Format is how one framework writes its sessions. The fields up to Login are the
// settings that apply where the user sets none.
type Format struct {
	Name    string
	Key     string
	Cookies []string
	TTL     time.Duration
	Sliding bool
	User    string
	Login   []string // fields of which one must have a value; none: every session counts

	Hash         bool // the session is a Redis hash, as hashfields writes it
	PresenceOnly bool // nothing of the value is read
	// NoRenewal: an EXPIRE alone does not keep the session alive.
	NoRenewal bool
	Secrets   Need
	// Stored says in words what must be in Redis.
	Stored string
	// Decode reads the stored value. nil means that it is not of this format.
	Decode func(raw string) map[string]any
	// IdleUntil gives when the framework itself ends the session unless it is used,
	// in Unix milliseconds; 0: never, or by the key's expiry alone.
	IdleUntil func(doc map[string]any) int64

	verifier func(secrets []string, cookie string) (Verifier, error)
}

// Step is one thing that must hold of what a client sends, and the remedy if it does not.
type Step struct{ Name, Remedy string }

// Verifier takes the session's id out of what the client sent. It is safe for
// concurrent use and, apart from growing dst, allocates nothing.
type Verifier interface {
	// AppendID appends the id. fault is 0, or counts the steps from 1 up to the one
	// that failed, and then nothing was appended.
	AppendID(dst, value []byte) (out []byte, fault int)
	// Steps lists what is verified, in order.
	Steps() []Step
}

// Verifier makes the verifier for a cookie of that name. An error is about a secret,
// and does not show it.
func (f *Format) Verifier(secrets []string, cookie string) (Verifier, error) {
	if cookie == "" && len(f.Cookies) > 0 {
		cookie = f.Cookies[0]
	}
	return f.verifier(secrets, cookie)
}

func all() []func() *Format {
	return []func() *Format{
		jsonFormat, express, django, flask, starsessions, php, laravel, rails, spring, scs, presence,
	}
}

// Lookup finds a format by its name; nil when there is none.
func Lookup(name string) *Format {
	for _, make := range all() {
		if f := make(); f.Name == name {
			return f
		}
	}
	return nil
}

// Names lists the names of all formats.
func Names() []string {
	var names []string
	for _, make := range all() {
		names = append(names, make().Name)
	}
	return names
}

// Present says whether a field's value says that somebody is logged in: it is
// neither absent nor one that a guest's session could have as a placeholder.
func Present(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != "" && v != "0"
	case map[string]any:
		return len(v) > 0
	case []any:
		return slices.ContainsFunc(v, Present)
	case interface{ Int64() (int64, error) }: // json.Number
		n, err := v.Int64()
		return err != nil || n != 0
	}
	return true
}
