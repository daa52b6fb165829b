package strictyaml

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	// maxSearch is the largest document in which the faulty line is searched for.
	maxSearch = 64 << 10
	// lookAhead is how many lines a value in brackets or quotes may span for the
	// search to see its end.
	lookAhead = 50
	// maxParses bounds the work of the search.
	maxParses = 400
)

// syntaxMistake turns the parser's error into a mistake with a place. The
// parser often names the line where the surrounding block began, so the line is
// searched for in the document instead.
func syntaxMistake(data []byte, err error) Mistake {
	problem := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(problem); m != nil {
		line, _ = strconv.Atoi(m[1])
		problem = problem[len(m[0]):]
	}
	if found := faultyLine(data); found > 0 {
		line = found
	}
	m := Mistake{Line: line, Message: "is not valid YAML (" + problem + ")", Remedy: "look at the indentation, quotes and brackets of this line"}
	text := lineOf(data, line)
	indent := len(text) - len(strings.TrimLeft(text, " "))
	if line > 0 {
		m.Column = indent + 1
	}
	switch {
	case strings.HasPrefix(text[indent:], "\t"):
		m.Message, m.Remedy = "is not valid YAML (a tab indents it)", "indent with spaces"
	case strings.Contains(problem, "mapping values are not allowed"):
		m.Remedy = `indent the line like its neighbours, and put quotes around a value that contains ": "`
	case strings.Contains(problem, "octet") || strings.Contains(problem, "UTF-8") || strings.Contains(problem, "control characters"):
		m.Remedy = "save the file as UTF-8 text"
	case strings.Contains(problem, "unknown anchor"):
		m.Message, m.Remedy = "is not valid YAML (an alias names no anchor)", "put quotes around a value that begins with *"
	}
	m.Message = "this line " + m.Message
	if line == 0 {
		m.Message = strings.Replace(m.Message, "this line", "the document", 1)
		m.Remedy = strings.Replace(m.Remedy, "of this line", "of the file", 1)
	}
	return m
}

// faultyLine gives the first line with which the document stops being YAML, or
// 0 when the document is too large to search.
func faultyLine(data []byte) int {
	if len(data) > maxSearch {
		return 0
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	ends := make([]int, len(lines)+1)
	for i, l := range lines {
		ends[i+1] = ends[i] + len(l)
	}
	parsed := 0
	bad := func(n int) bool {
		parsed++
		return !parses(data[:ends[n]])
	}
	// Invariant: the first lo lines parse. A prefix that ends within a value in
	// brackets does not parse either, hence the look-ahead.
	for lo := 0; lo < len(lines) && parsed < maxParses; {
		hi := len(lines)
		for hi-lo > 1 {
			if mid := lo + (hi-lo)/2; bad(mid) {
				hi = mid
			} else {
				lo = mid
			}
		}
		next := 0
		for n := hi + 1; n <= min(hi+lookAhead, len(lines)); n++ {
			if !bad(n) {
				next = n
				break
			}
		}
		if next == 0 {
			return hi
		}
		lo = next
	}
	return 0
}

func parses(data []byte) bool {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	for range 3 {
		var n yaml.Node
		if err := dec.Decode(&n); err != nil {
			return err.Error() == "EOF"
		}
	}
	return true
}

func lineOf(data []byte, line int) string {
	for n := 1; len(data) > 0; n++ {
		l, rest, _ := bytes.Cut(data, []byte("\n"))
		if n == line {
			return string(l)
		}
		data = rest
	}
	return ""
}
