package cache

import (
	"fmt"
	"strings"
	"testing"
)

// show writes what a dictionary was read as, or "-" for one that is void.
func showDictionary(value string) string {
	p, _ := structured(header("X: "+value), "X")
	var out []string
	if !p.dictionary(func(key []byte, v *sfItem) { out = append(out, string(key)+"="+showItem(v)) }) {
		return "-"
	}
	return strings.Join(out, " ")
}

func showItem(v *sfItem) string {
	switch v.kind {
	case sfBool, sfInteger:
		return fmt.Sprint(v.num)
	case sfString:
		return fmt.Sprintf("%q", v.text)
	case sfToken:
		return string(v.text)
	case sfInner:
		var out []string
		for i := range v.list {
			out = append(out, showItem(&v.list[i]))
		}
		return "(" + strings.Join(out, ",") + ")"
	}
	return "?"
}

// RFC 9651 §4.2.
func TestDictionary(t *testing.T) {
	for value, want := range map[string]string{
		"a":                                     "a=1",
		"a=?0":                                  "a=0",
		"a, b=2,\tc=tok/en:x":                   "a=1 b=2 c=tok/en:x",
		"a=1;p=2;q, b;r":                        "a=1 b=1",
		"a=1; p=2":                              "a=1",
		"a=-5, a=6":                             "a=-5 a=6",
		"*a-b.c_d=*x":                           "*a-b.c_d=*x",
		`a="x\"\\y,z"`:                          `a="x\"\\y,z"`,
		`a="", b`:                               `a="" b=1`,
		`a=("x" "y";p=1 tok 5);q, b=()`:         `a=("x","y",tok,5) b=()`,
		"a=( 1   2 )":                           "a=(1,2)",
		"a=1.5, b=:aGk=:, c=@17, d=%\"%c3%a9\"": "a=? b=? c=? d=?",
		"a=999999999999999":                     "a=999999999999999",
		"a=999999999999.999":                    "a=?",
		"":                                      "-",
		"a,":                                    "-",
		",a":                                    "-",
		"a b":                                   "-",
		"a =1":                                  "-",
		"a= 1":                                  "-",
		"A=1":                                   "-",
		"1a":                                    "-",
		"a=1;P=2":                               "-",
		"a=1 ;p":                                "-",
		"a;":                                    "-",
		"a=":                                    "-",
		"a=-":                                   "-",
		"a=1000000000000000":                    "-",
		"a=1.":                                  "-",
		"a=1.2345":                              "-",
		"a=1000000000000.1":                     "-",
		"a=--1":                                 "-",
		`a="x`:                                  "-",
		`a="\x"`:                                "-",
		`a="x\`:                                 "-",
		"a=\"\xc3\xa9\"":                        "-",
		"a=?":                                   "-",
		"a=?2":                                  "-",
		"a=?true":                               "-",
		"a=(1":                                  "-",
		"a=(1,2)":                               "-",
		"a=(1\"x\")":                            "-",
		"a=((1))":                               "-",
		"a=:x":                                  "-",
		"a=:x!:":                                "-",
		"a=@1.5":                                "-",
		"a=%\"%C3\"":                            "-",
		"a=%\"%c":                               "-",
		"a=%\"%":                                "-",
		"a=%\"x":                                "-",
		"a=%\"\x7f\"":                           "-",
		"a=::, b":                               "a=? b=1",
		"a=%x":                                  "-",
		"a={":                                   "-",
		"a=1 b=2":                               "-",
		"a=1,,b":                                "-",
		"a=1\vb":                                "-",
	} {
		if got := showDictionary(value); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
	p, _ := structured(header("X: a=1", "x: b=2"), "X")
	n := 0
	if !p.dictionary(func([]byte, *sfItem) { n++ }) || n != 2 {
		t.Error("lines are not joined")
	}
	if _, present := structured(header("Y: a"), "X"); present {
		t.Error("an absent field is present")
	}
	for _, long := range []string{strings.Repeat("a", maxSFBytes+1), strings.Repeat("a,", maxSFMembers) + "a", "a=(" + strings.Repeat("1 ", maxSFMembers+1) + ")"} {
		if showDictionary(long) != "-" {
			t.Errorf("%d bytes are read", len(long))
		}
	}
}

// Any bytes end without a panic, and what is read can be written and read again.
func FuzzStructured(f *testing.F) {
	for _, seed := range []string{`a=1, b=("x" y;p=2);q, c="z\"", d=?0`, `"a";b, "c"`, "a=%\"%c3\", b=:x:, c=@1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		h := Header{{[]byte("X"), []byte(value)}}
		p, _ := structured(h, "X")
		var again strings.Builder
		simple := true
		if p.dictionary(func(key []byte, v *sfItem) {
			if again.Len() > 0 {
				again.WriteString(", ")
			}
			again.WriteString(string(key))
			switch v.kind {
			case sfInteger:
				fmt.Fprintf(&again, "=%d", v.num)
			case sfBool:
				fmt.Fprintf(&again, "=?%d", v.num)
			case sfToken:
				fmt.Fprintf(&again, "=%s", v.text)
			case sfString:
				again.Write(appendString([]byte("="), v.text))
			default:
				simple = false
			}
		}) && simple {
			if a, b := showDictionary(value), showDictionary(again.String()); a != b {
				t.Fatalf("%q becomes %q: %s, %s", value, again.String(), a, b)
			}
		}
		l, _ := structured(h, "X")
		l.list(func(*sfItem) {})
		ParseNoVarySearch(Header{{[]byte("No-Vary-Search"), []byte(value)}})
		if d := ReadDirectives(h, []string{"x"}); d.MaxAge.Seconds < 0 || d.MaxAge.Seconds > MaxDelta {
			t.Fatalf("%+v", d)
		}
	})
}
