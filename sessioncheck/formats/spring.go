package formats

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strings"
	"time"

	"github.com/pillion-proxy/pillion/internal/hashfields"
)

// spring is Spring Session Data Redis: a hash whose fields Java serialized, or JSON.
// Its own end is lastAccessedTime + maxInactiveInterval, which an EXPIRE does not move:
// only the application may renew.
func spring() *Format {
	return &Format{
		Name: "spring", Key: "spring:session:sessions:{id}", Cookies: []string{"SESSION"},
		TTL: 30 * time.Minute, NoRenewal: true, Hash: true, User: "sessionAttr.userId",
		Login:  []string{"sessionAttr.SPRING_SECURITY_CONTEXT"},
		Stored: "a hash with creationTime, lastAccessedTime, maxInactiveInterval and sessionAttr:* of at most 64 KiB", Decode: decodeSpring,
		IdleUntil: springIdle,
		verifier: func([]string, string) (Verifier, error) {
			return &routed{newSyntax(36, 36, hexDigits+"-")}, nil
		},
	}
}

// routed is the base64 of a UUID, with a dot and the name of a server behind it if the
// application has a jvmRoute.
type routed struct{ syntax }

func (v *routed) Steps() []Step {
	return []Step{
		{"the cookie is base64", "Spring's cookie serializer must have useBase64Encoding, its default"},
		v.step(),
	}
}

func (v *routed) AppendID(dst, value []byte) ([]byte, int) {
	if len(value) > 2*maxIDBytes {
		return dst, 1
	}
	out, ok := unbase64(dst, value)
	if !ok {
		return dst, 1
	}
	id := out[len(dst):]
	if dot := bytes.IndexByte(id, '.'); dot >= 0 {
		id = id[:dot]
	}
	if !v.valid(id) {
		return dst, 2
	}
	return out[:len(dst)+len(id)], 0
}

// decodeSpring needs the three fields that every session of Spring has, as
// RedisSessionMapper does. The hash may outlive its session; then they are gone.
func decodeSpring(raw string) map[string]any {
	if len(raw) > MaxBytes {
		return nil
	}
	attributes := map[string]any{}
	doc := map[string]any{"sessionAttr": attributes}
	for rest := raw; rest != ""; {
		name, value, left, ok := hashfields.Next(rest)
		if !ok {
			return nil
		}
		rest = left
		if attribute, ok := strings.CutPrefix(name, "sessionAttr:"); ok {
			if len(attributes) == maxElements {
				return nil
			}
			attributes[attribute] = springValue(value)
		} else {
			doc[name] = springValue(value)
		}
	}
	for _, name := range []string{"creationTime", "lastAccessedTime", "maxInactiveInterval"} {
		if _, ok := doc[name].(json.Number); !ok {
			return nil
		}
	}
	return doc
}

func springIdle(doc map[string]any) int64 {
	last, _ := doc["lastAccessedTime"].(json.Number)
	interval, _ := doc["maxInactiveInterval"].(json.Number)
	at, err1 := last.Int64()
	seconds, err2 := interval.Int64()
	const century = 100 * 365 * 24 * 3600
	if err1 != nil || err2 != nil || seconds < 0 || seconds > century || at > 1<<50 {
		return 0 // a negative interval means never
	}
	return max(at+1000*seconds, 1)
}

// springValue reads a Java string, Long, Integer or Boolean, or JSON of one value. An
// empty one is null. Anything else is there, and not read.
func springValue(raw string) any {
	if raw == "" {
		return nil
	}
	if body, ok := strings.CutPrefix(raw, "\xac\xed\x00\x05"); ok {
		return javaValue(body)
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(raw))
	dec.UseNumber()
	if !depthWithin(raw, MaxDepth) || dec.Decode(&v) != nil || dec.More() {
		return Opaque{}
	}
	// Jackson with type names writes ["java.lang.Long", 1].
	if pair, ok := v.([]any); ok && len(pair) == 2 && (pair[0] == "java.lang.Long" || pair[0] == "java.lang.Integer") {
		v = pair[1]
	}
	if s, ok := v.(string); ok {
		return text(s)
	}
	return v
}

// javaValue compares the whole class description of the three boxed types: it is
// always the same bytes, and no other class is looked at.
func javaValue(body string) any {
	const number = "xr\x00\x10java.lang.Number\x86\xac\x95\x1d\x0b\x94\xe0\x8b\x02\x00\x00xp"
	if rest, ok := strings.CutPrefix(body, "t"); ok && len(rest) >= 2 {
		if n := binary.BigEndian.Uint16([]byte(rest)); len(rest) == 2+int(n) {
			return text(rest[2:])
		}
	}
	if rest, ok := strings.CutPrefix(body, "sr\x00\x0ejava.lang.Long;\x8b\xe4\x90\xcc\x8f#\xdf\x02\x00\x01J\x00\x05value"+number); ok && len(rest) == 8 {
		return integer(int64(binary.BigEndian.Uint64([]byte(rest))))
	}
	if rest, ok := strings.CutPrefix(body, "sr\x00\x11java.lang.Integer\x12\xe2\xa0\xa4\xf7\x81\x878\x02\x00\x01I\x00\x05value"+number); ok && len(rest) == 4 {
		return integer(int64(int32(binary.BigEndian.Uint32([]byte(rest)))))
	}
	if rest, ok := strings.CutPrefix(body, "sr\x00\x11java.lang.Boolean\xcd r\x80\xd5\x9c\xfa\xee\x02\x00\x01Z\x00\x05valuexp"); ok && len(rest) == 1 {
		return rest == "\x01"
	}
	return Opaque{}
}
