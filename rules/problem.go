package rules

import (
	"fmt"
	"strings"
)

// Problem is one mistake in a Match.
type Problem struct {
	// Index is the position of the Match in the list given to Compile.
	Index int
	// Field is the field's YAML path within the Match: "path", "methods[1]",
	// "headers.X-Api".
	Field string
	// Value is what was written.
	Value string
	// Message says what is wrong with it, Remedy what to write instead.
	Message string
	Remedy  string
}

// Error gives the problem in one line.
func (p Problem) Error() string {
	return fmt.Sprintf("match[%d].%s: %q %s: %s", p.Index, p.Field, p.Value, p.Message, p.Remedy)
}

// Problems is every mistake found, in the order of the matches and their fields.
type Problems []Problem

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// collector gathers the problems of one Match.
type collector struct {
	index    int
	problems Problems
}

func (c *collector) add(field, value, message, remedy string) {
	c.problems = append(c.problems, Problem{c.index, field, value, message, remedy})
}
