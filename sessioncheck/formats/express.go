package formats

import (
	"bytes"
	"encoding/base64"
	"time"
)

// express is express-session with connect-redis.
func express() *Format {
	return &Format{
		Name: "express", Key: "sess:{id}", Cookies: []string{"connect.sid"},
		TTL: 24 * time.Hour, Sliding: true, User: "passport.user",
		Login: []string{"passport.user", "user", "userId"}, Secrets: RequiredSecrets,
		Stored: "a JSON object of at most 64 KiB in UTF-8", Decode: JSON,
		verifier: func(secrets []string, _ string) (Verifier, error) {
			return &signed{macs: newSHA256(byteKeys(secrets)), syntax: newSyntax(1, maxIDBytes, anyIDChars)}, nil
		},
	}
}

// signed is "s:", the id, a dot and the base64 of HMAC-SHA256(secret, id) without
// padding, URL-encoded: the module cookie-signature. The last dot counts.
type signed struct {
	*macs
	syntax
}

func (v *signed) Steps() []Step {
	return []Step{
		{"the cookie is URL-encoded text of at most 4096 bytes", "send the cookie's value as the browser has it"},
		{"it begins with s: as a signed cookie does", "unsigned cookies are refused: give express-session its secret"},
		{"it has a signature behind a dot", "the cookie was cut: send the whole value"},
		{"the signature was made with one of session.secrets", "write the secret of express-session into session.secrets, first the new and then the old one if it is being changed"},
		v.step(),
	}
}

func (v *signed) AppendID(dst, value []byte) ([]byte, int) {
	s := v.get()
	defer v.put(s)
	if len(value) > maxCookieBytes {
		return dst, 1
	}
	text, ok := unescape(s.work[:0], value)
	s.work = text
	if !ok {
		return dst, 1
	}
	text, ok = bytes.CutPrefix(text, []byte("s:"))
	if !ok {
		return dst, 2
	}
	dot := bytes.LastIndexByte(text, '.')
	if dot < 0 {
		return dst, 3
	}
	id, mac := text[:dot], text[dot+1:]
	if s.match(mac, base64.RawStdEncoding.AppendEncode, id) < 0 {
		return dst, 4
	}
	if !v.valid(id) {
		return dst, 5
	}
	return append(dst, id...), 0
}
