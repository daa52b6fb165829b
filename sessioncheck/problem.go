package sessioncheck

import (
	"fmt"
	"strings"
)

// Problem is one mistake in a Config or a Policy.
type Problem struct {
	// Field is the YAML path within the Config or Policy: "sources[1].header".
	Field string
	// Value is what was written.
	Value string
	// Message says what is wrong with it, Remedy what to write instead.
	Message string
	Remedy  string
}

// Error gives the problem in one line.
func (p Problem) Error() string {
	return fmt.Sprintf("%s: %q %s: %s", p.Field, p.Value, p.Message, p.Remedy)
}

// Problems is every mistake found.
type Problems []Problem

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

func (ps *Problems) add(field, value, message, remedy string) {
	*ps = append(*ps, Problem{field, value, message, remedy})
}

// err gives nil, not an empty error, when there is no problem.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}
