package pillion

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ConfigError holds everything that is wrong with a configuration.
type ConfigError struct {
	// File is the YAML file, or empty when there was none.
	File string
	// Mistakes holds at least one, those in the YAML file first.
	Mistakes []Mistake
	// AdminListen is admin.listen as far as it could be read, or empty when it has a
	// mistake itself. A process that still has its last good configuration most likely
	// listens there, so that it can be asked how it does.
	AdminListen string
}

// Mistake is one thing that is wrong with a configuration.
type Mistake struct {
	// File is where it is: the YAML file, the .env file, or "environment". It is
	// empty when the configuration was built by a program.
	File string
	// Line and Column count from 1; 0 is unknown.
	Line, Column int
	// Key is the path of the key, such as rules[2].cache.ttl, or the name of the
	// variable.
	Key string
	// Value is what was found, with secrets masked, or empty when there is
	// nothing to show.
	Value string
	// Message says what is wrong, Remedy what to do about it.
	Message, Remedy string
}

// Error gives one line for each mistake.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Mistakes))
	for i, m := range e.Mistakes {
		lines[i] = m.String()
	}
	return strings.Join(lines, "\n")
}

// String gives the mistake in one line:
//
//	config.yaml:12:7: rules[2].cache.ttl: "5 minutes" is not a duration: write a number with a unit, such as 30s, 5m or 1h
func (m Mistake) String() string {
	var b strings.Builder
	b.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&b, ":%d", m.Line)
		if m.Column > 0 {
			fmt.Fprintf(&b, ":%d", m.Column)
		}
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	if m.Key != "" {
		b.WriteString(m.Key + ": ")
	}
	if m.Value != "" {
		b.WriteString(strconv.Quote(m.Value) + " ")
	}
	b.WriteString(m.Message + ": " + m.Remedy)
	return b.String()
}

// newConfigError sorts the mistakes by where they are. Without any, it gives
// a nil error.
func newConfigError(file string, mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(rank(a.File, file), rank(b.File, file)), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &ConfigError{File: file, Mistakes: mistakes}
}

// rank puts the YAML file first and the environment last.
func rank(name, file string) int {
	switch name {
	case file:
		return 0
	case environment:
		return 2
	}
	return 1
}
