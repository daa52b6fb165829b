package webhook

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestMapping(t *testing.T) {
	celery := Task{Type: "headers.task", Body: "body", Encoding: "base64", Due: "headers.eta", Expires: "headers.expires"}
	sidekiq := Task{Type: "class", Body: "args"}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, c := range map[string]struct {
		task      Task
		payload   string
		typ, body string
	}{
		"sidekiq": {sidekiq, `{"class":"HardJob","args":["a", {"b" : 1}],"jid":"x"}`, "HardJob", `["a", {"b" : 1}]`},
		"celery": {celery, `{"body":"` + base64.StdEncoding.EncodeToString([]byte(`[[1], {}, {}]`)) +
			`","headers":{"task":"app.add","eta":null,"expires":null}}`, "app.add", `[[1], {}, {}]`},
		"data alone":          {Task{Body: "data"}, `{"type":"t","data":{"x":1}}`, "t", `{"x":1}`},
		"a string":            {Task{Body: "data"}, `{"data":"plain"}`, "", "plain"},
		"an escaped string":   {Task{Body: "data"}, `{"data":"{\"a\":\"\u00fc\\n\ud83d\ude00\"}"}`, "", "{\"a\":\"ü\\n😀\"}"},
		"escaped base64":      {Task{Body: "d", Encoding: "base64"}, `{"d":"\/\/8\u003d"}`, "", "\xff\xff"},
		"empty base64":        {Task{Body: "d", Encoding: "base64"}, `{"d":""}`, "", ""},
		"null":                {Task{Body: "data"}, `{"data":null}`, "", "null"},
		"the type within":     {Task{Type: "data.type", Body: "data"}, `{"data":{"type":"t"}}`, "t", `{"type":"t"}`},
		"no type":             {sidekiq, `{"args":[]}`, "", "[]"},
		"due in the past":     {Task{Due: "at"}, `{"at":"2026-01-02T03:04:05Z"}`, "", `{"at":"2026-01-02T03:04:05Z"}`},
		"expires in a moment": {Task{Expires: "at"}, `{"at":"2026-01-02T03:04:05.001"}`, "", `{"at":"2026-01-02T03:04:05.001"}`},
		"empty time":          {Task{Due: "at"}, `{"at":""}`, "", `{"at":""}`},
	} {
		m, err := newMapping(c.task)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := m.read(c.payload, now, []byte("used before"))
		if err != nil || got.typ != c.typ || string(got.body) != c.body {
			t.Errorf("%s: type %q, body %q, %v: want %q, %q", name, got.typ, got.body, err, c.typ, c.body)
		}
	}
}

func TestMappingRefusesAPayload(t *testing.T) {
	for name, c := range map[string]struct {
		task    Task
		payload string
		want    string // within the error
		kind    Kind
	}{
		"no body":        {Task{Body: "a.b"}, `{"a":{}}`, `"a.b", which task.body`, KindBadPayload},
		"not an object":  {Task{Body: "a"}, `[]`, "not a JSON object, which task.body needs", KindBadPayload},
		"not JSON":       {Task{Due: "at"}, `x`, "not a JSON object, which task.due needs", KindBadPayload},
		"not base64":     {Task{Body: "a", Encoding: "base64"}, `{"a":"?"}`, "is not base64", KindBadPayload},
		"not a string":   {Task{Body: "a", Encoding: "base64"}, `{"a":{}}`, "is not a string", KindBadPayload},
		"no time":        {Task{Due: "d.at"}, `{"d":{"at":"tomorrow"}}`, `"d.at", which task.due`, KindBadPayload},
		"bad expiry":     {Task{Expires: "x"}, `{"x":true}`, `"x", which task.expires`, KindBadPayload},
		"not due":        {Task{Due: "at"}, `{"at":1000010.5}`, "due in 10.5s", KindNotDue},
		"expired":        {Task{Expires: "at"}, `{"at":1000000}`, "task.expires", KindExpired},
		"expired, later": {Task{Expires: "x", Due: "at"}, `{"at":1000010,"x":"1970-01-01 00:00:00"}`, "task.expires", KindExpired},
	} {
		m, err := newMapping(c.task)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = m.read(c.payload, time.Unix(1000000, 0), nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v: want an error with %q", name, err, c.want)
			continue
		}
		if a := failed(err); a.Kind != c.kind || (a.Due > 0) != (c.kind == KindNotDue) {
			t.Errorf("%s: %+v: want %s", name, a, c.kind)
		}
	}
}

func TestMappingRefusesASetting(t *testing.T) {
	for want, task := range map[string]Task{
		"task.type":                 {Type: "a..b"},
		"task.body":                 {Body: "."},
		"task.due":                  {Due: strings.Repeat("x", 257)},
		"task.expires":              {Expires: "x."},
		"task.traceparent":          {Traceparent: ".x"},
		"task.encoding \"gzip\"":    {Encoding: "gzip", Body: "a"},
		"is set without task.body:": {Encoding: "base64"},
	} {
		if _, err := newMapping(task); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v: want an error with %q", task, err, want)
		}
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]string{
		"2026-01-02T03:04:05Z":             "2026-01-02T03:04:05Z",
		"2026-01-02T03:04:05.678901+02:00": "2026-01-02T01:04:05.678901Z",
		"2026-01-02T03:04:05+0200":         "2026-01-02T01:04:05Z",
		"2026-01-02T03:04:05.678901":       "2026-01-02T03:04:05.678901Z",
		"2026-01-02 03:04:05":              "2026-01-02T03:04:05Z",
		"2026-01-02 03:04:05-01:00":        "2026-01-02T04:04:05Z",
		"0":                                "1970-01-01T00:00:00Z",
		"1767323045":                       "2026-01-02T03:04:05Z",
		"1767323045.5":                     "2026-01-02T03:04:05.5Z",
		"1.767323045e9":                    "2026-01-02T03:04:05Z",
		"1767323045678":                    "2026-01-02T03:04:05.678Z",
		"-1":                               "1969-12-31T23:59:59Z",
	} {
		if got, ok := parseTime(in); !ok || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s is %s, %v: want %s", in, got.UTC().Format(time.RFC3339Nano), ok, want)
		}
	}
	for _, in := range []string{"", "x", "2026-01-02", "1e300", "-1e300", "253402300800000", "2026-13-02T03:04:05Z", "+", "0x10", "Inf", strings.Repeat("1", 65)} {
		if got, ok := parseTime(in); ok {
			t.Errorf("%q is %s: want none", in, got)
		}
	}
}

// FuzzMapping: no payload panics, none gives a time that is not one, and a body that
// is given is part of it.
func FuzzMapping(f *testing.F) {
	m, err := newMapping(Task{Type: "h.task", Body: "body", Encoding: "base64", Due: "eta", Expires: "x", Traceparent: "h.traceparent"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(`{"body":"W10=","h":{"task":"a"},"eta":1,"x":"2026-01-02T03:04:05Z"}`)
	f.Add(`{"body":"\/\/8=","h":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}`)
	f.Fuzz(func(t *testing.T, in string) {
		c, _, err := m.read(in, time.Unix(1000000, 0), nil)
		var early notDueError
		if errors.As(err, &early) && early.in <= 0 {
			t.Errorf("%q is due in %s", in, early.in)
		}
		if err == nil && len(c.body) > len(in) {
			t.Errorf("%q gives a body of %d bytes", in, len(c.body))
		}
	})
}
