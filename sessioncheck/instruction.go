package sessioncheck

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/pillion-proxy/pillion/sessioncheck/formats"
)

// maxWritten bounds a session that is written, so that it can be read.
const maxWritten = formats.MaxBytes

// maxInstruction bounds the field in bytes: base64 of the largest session, and the rest.
const maxInstruction = maxWritten*4/3 + 4096

// maxTTL bounds the lifetime that an instruction may ask for.
const maxTTL = 400 * 24 * time.Hour

// jsonObject reads a session as the check reads it: nil for what is none.
func jsonObject(text string) map[string]any { return formats.JSON(text) }

// verb is what an instruction asks for.
type verb string

const (
	verbCreate     verb = "create"
	verbUpdate     verb = "update"
	verbRotate     verb = "rotate"
	verbDestroy    verb = "destroy"
	verbDestroyAll verb = "destroy-all"
)

// instruction is the lifecycle field of a response: an Item of RFC 9651 whose value is
// the verb as a Token and whose parameters say the rest.
type instruction struct {
	verb verb
	user any           // json.Number or string; nil when not given
	data []byte        // a JSON object; nil when not given
	ttl  time.Duration // 0 when not given
}

// parseInstruction reads the lines of the field.
func parseInstruction(lines []string) (in instruction, err error) {
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	if size > maxInstruction {
		return in, fmt.Errorf("is %d bytes long: keep it under %d", size, maxInstruction)
	}
	item, err := httpsfv.UnmarshalItem(lines)
	if err != nil {
		return in, fmt.Errorf("is no structured field (RFC 9651): %w", err)
	}
	name, ok := item.Value.(httpsfv.Token)
	in.verb = verb(name)
	if !ok || !in.verb.known() {
		return in, errors.New("does not begin with create, update, rotate, destroy or destroy-all")
	}
	for _, p := range item.Params.Names() {
		v, _ := item.Params.Get(p)
		if err := in.set(p, v); err != nil {
			return in, err
		}
	}
	if in.verb == verbUpdate && in.data == nil {
		return in, errors.New("is update without data: add data=:base64 of a JSON object:")
	}
	return in, nil
}

func (v verb) known() bool {
	switch v {
	case verbCreate, verbUpdate, verbRotate, verbDestroy, verbDestroyAll:
		return true
	}
	return false
}

// takes says which parameters a verb has. An unknown one is a mistake, not something to
// skip: an application that writes "tlt" believes that it has set a lifetime.
func (v verb) takes(param string) bool {
	switch param {
	case "user":
		return v == verbCreate || v == verbDestroyAll
	case "data", "ttl":
		return v == verbCreate || v == verbUpdate || v == verbRotate
	}
	return false
}

func (in *instruction) set(param string, v any) error {
	if !in.verb.takes(param) {
		return fmt.Errorf("has the parameter %q, which %s does not take", param, in.verb)
	}
	ok := false
	switch param {
	case "user":
		in.user, ok = userParam(v)
	case "data":
		in.data, ok = dataParam(v)
	case "ttl":
		var n int64
		n, ok = v.(int64)
		ok = ok && n > 0 && n <= int64(maxTTL/time.Second)
		in.ttl = time.Duration(n) * time.Second
	}
	if !ok {
		return fmt.Errorf("has a %s that is not valid: write %s", param, paramForm(param))
	}
	return nil
}

func paramForm(param string) string {
	switch param {
	case "user":
		return `a string such as user="42", or an integer such as user=42`
	case "data":
		return "data=:base64 of a JSON object:, at most 64 KiB"
	}
	return fmt.Sprintf("ttl as seconds, 1 to %d", int64(maxTTL/time.Second))
}

// userParam takes a string, which becomes a JSON string, or an integer.
func userParam(v any) (any, bool) {
	switch v := v.(type) {
	case string:
		return v, safeHeaderValue(v)
	case httpsfv.DisplayString:
		return string(v), safeHeaderValue(string(v))
	case int64:
		return json.Number(fmt.Sprint(v)), true
	}
	return nil, false
}

func dataParam(v any) ([]byte, bool) {
	switch v := v.(type) {
	case []byte:
		return v, jsonObject(string(v)) != nil
	case string:
		return []byte(v), jsonObject(v) != nil
	}
	return nil, false
}

// ttlField is the member of a session that holds the lifetime that it was given, in
// seconds: renewal sets that, and not session.ttl.
const ttlField = "pillion_ttl"

// document gives the session to write: data, with the user at the path of session.user,
// and with a lifetime of its own if that is not 0.
func document(data []byte, user any, path string, ttl time.Duration) ([]byte, error) {
	if len(data) == 0 {
		data = []byte("{}")
	}
	if user == nil && ttl == 0 {
		return data, nil
	}
	doc := jsonObject(string(data))
	if user != nil {
		if err := setField(doc, user, path); err != nil {
			return nil, err
		}
	}
	if ttl > 0 {
		doc[ttlField] = int64(ttl / time.Second)
	}
	return encode(doc)
}

func encode(doc map[string]any) ([]byte, error) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	if out.Len() > maxWritten {
		return nil, fmt.Errorf("makes a session of %d bytes: keep it under %d", out.Len(), maxWritten)
	}
	return bytes.TrimRight(out.Bytes(), "\n"), nil
}

// setField writes a field, such as the user, into a session. One that its data has with
// another value is refused, since one of the two is a mistake.
func setField(doc map[string]any, value any, path string) error {
	at, names := doc, strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		inner, ok := at[name].(map[string]any)
		if !ok {
			if at[name] != nil {
				return fmt.Errorf("has data in which %q is no object, so it cannot hold %s", name, path)
			}
			inner = map[string]any{}
			at[name] = inner
		}
		at = inner
	}
	last := names[len(names)-1]
	if old := at[last]; old != nil && fmt.Sprint(old) != fmt.Sprint(value) {
		return fmt.Errorf("has one user in user and another in data, at %s", path)
	}
	if at[last] == nil {
		at[last] = value
	}
	return nil
}

// ownTTL gives the lifetime that a session was given; 0 for none.
func ownTTL(doc map[string]any) time.Duration {
	n, ok := doc[ttlField].(json.Number)
	if !ok {
		return 0
	}
	seconds, err := n.Int64()
	if err != nil || seconds <= 0 || seconds > int64(maxTTL/time.Second) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// expiresIn gives the lifetime in whole milliseconds, at least one.
func expiresIn(d time.Duration) int64 { return max(1, min(d.Milliseconds(), math.MaxInt32*1000)) }
