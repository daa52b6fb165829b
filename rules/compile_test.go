package rules

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestProblems(t *testing.T) {
	many := ""
	for i := range MaxParams + 1 {
		many += fmt.Sprintf("/{p%d}", i)
	}
	for _, tc := range []struct {
		m    Match
		want string // Field: part of the message or of the remedy
	}{
		{Match{Path: "a/b"}, "path: write /a/b"},
		{Match{Path: "/a**"}, "path: ** as a whole segment"},
		{Match{Path: "/a/***"}, "path: ** as a whole segment"},
		{Match{Path: "/a?b=c"}, "path: match the query with query:"},
		{Match{Path: "/a#b"}, "path: %23"},
		{Match{Path: "/a/%4"}, "path: write %25"},
		{Match{Path: "/a/%*41"}, "path: write %25"},
		{Match{Path: "/a/../b"}, "path: the segment .."},
		{Match{Path: "/%2e%2E/b"}, "path: the segment .."},
		{Match{Path: "/./b"}, "path: the segment ."},
		{Match{Path: "/x{id}"}, "path: {name} as a whole segment"},
		{Match{Path: "/id}"}, "path: {name} as a whole segment"},
		{Match{Path: "/{}"}, `path: the name ""`},
		{Match{Path: "/{1a}"}, `path: the name "1a"`},
		{Match{Path: "/{a}/{a}"}, "path: captures {a} twice"},
		{Match{Path: many}, "path: captures more than 16"},
		{Match{Path: "/" + strings.Repeat("a", maxPattern)}, "path: is longer than"},
		{Match{Path: strings.Repeat("/a", maxSegments+1)}, "path: is longer than"},
		{Match{Methods: []string{"GET", "post"}}, "methods[1]: write POST"},
		{Match{Methods: []string{"GET POST"}}, "methods[0]: not a request method"},
		{Match{Methods: []string{""}}, "methods[0]: not a request method"},
		{Match{Hosts: []string{"example.com:80"}}, "hosts[0]: has a port"},
		{Match{Hosts: []string{"https://example.com"}}, "hosts[0]: has a port or a scheme"},
		{Match{Hosts: []string{"*"}}, "hosts[0]: leave hosts out"},
		{Match{Hosts: []string{"a.*.com"}}, "hosts[0]: in another place than the front"},
		{Match{Hosts: []string{"bücher.de"}}, "hosts[0]: xn--"},
		{Match{Hosts: []string{""}}, "hosts[0]: not a host name"},
		{Match{Hosts: []string{"*."}}, "hosts[0]: another place"},
		{Match{Hosts: []string{"*.[::1]"}}, "hosts[0]: not a host name"},
		{Match{Headers: map[string]string{"X Y": "*"}}, "headers.X Y: not a header field name"},
		{Match{Headers: map[string]string{"X-A": "1", "x-a": "2"}}, "headers.x-a: the same field as X-A"},
		{Match{Headers: map[string]string{"X-A": "a\nb"}}, "headers.X-A: control character"},
		{Match{Query: map[string]string{"": "1"}}, "query: not a parameter's name"},
	} {
		problems := Check(tc.m)
		field, text, _ := strings.Cut(tc.want, ": ")
		if len(problems) != 1 || problems[0].Field != field || !strings.Contains(problems[0].Error(), text) {
			t.Errorf("%+v: %v, want one about %s", tc.m, problems, tc.want)
		}
	}
}

func TestCompileListsEveryProblem(t *testing.T) {
	_, err := Compile([]Match{{Path: "a", Methods: []string{"get"}}, {Path: "/ok"}, {Hosts: []string{"a:1"}}})
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 3 {
		t.Fatalf("got %v, want three problems", err)
	}
	want := `match[0].path: "a" does not start with a slash: write /a
match[0].methods[0]: "get" is not in capitals, and methods are case-sensitive: write GET
match[2].hosts[0]: "a:1" has a port or a scheme: write the host name alone, an IPv6 address in brackets`
	if got := problems.Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestEmptyTable(t *testing.T) {
	if got := compile(t).Match(&Request{Path: []byte("/")}, &Params{}); got != -1 {
		t.Errorf("got %d, want -1", got)
	}
}
