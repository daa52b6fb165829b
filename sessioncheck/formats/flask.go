package formats

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"time"
)

// flask is Flask-Session: MessagePack or JSON, and in versions before 0.8 pickle.
func flask() *Format {
	return &Format{
		Name: "flask", Key: "session:{id}", Cookies: []string{"session"},
		TTL: 31 * 24 * time.Hour, Sliding: true, User: "_user_id",
		Login: []string{"_user_id", "user_id"}, Secrets: OptionalSecrets,
		Stored: "a MessagePack map, a JSON object or a pickled dict of plain values, of at most 64 KiB", Decode: decodeFlask,
		verifier: func(secrets []string, _ string) (Verifier, error) {
			form := newSyntax(16, maxIDBytes, alnum+"-_")
			if len(secrets) == 0 {
				return &plain{form}, nil
			}
			return newItsdangerous(secrets, form), nil
		},
	}
}

// decodeFlask tells the serializers apart by the first byte: no MessagePack map
// begins with "{", and one that begins with 0x80, as a pickle does, is empty and ends there.
func decodeFlask(raw string) map[string]any {
	switch {
	case raw == "":
		return nil
	case raw[0] == '{':
		return JSON(raw)
	case raw[0] == opProto && len(raw) > 1:
		return pickle(raw)
	}
	return msgpack(raw)
}

// itsdangerous is the id, a dot and the URL-safe base64 of HMAC-SHA1 under a key that
// is derived from the secret: the deprecated SESSION_USE_SIGNER.
type itsdangerous struct {
	*macs
	syntax
}

func newItsdangerous(secrets []string, form syntax) *itsdangerous {
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		mac := hmac.New(sha1.New, []byte(secret))
		mac.Write([]byte("flask-session"))
		keys[i] = mac.Sum(nil)
	}
	return &itsdangerous{macs: newMACs(sha1.New, keys), syntax: form}
}

func (v *itsdangerous) Steps() []Step {
	return []Step{
		{"it has a signature behind a dot", "session.secrets is set, so unsigned cookies are refused: set SESSION_USE_SIGNER, or remove session.secrets"},
		{"the signature was made with one of session.secrets", "write Flask's SECRET_KEY into session.secrets"},
		v.step(),
	}
}

func (v *itsdangerous) AppendID(dst, value []byte) ([]byte, int) {
	dot := bytes.LastIndexByte(value, '.')
	if dot < 0 || len(value) > maxCookieBytes {
		return dst, 1
	}
	id, mac := value[:dot], value[dot+1:]
	s := v.get()
	defer v.put(s)
	if s.match(mac, base64.RawURLEncoding.AppendEncode, id) < 0 {
		return dst, 2
	}
	if !v.valid(id) {
		return dst, 3
	}
	return append(dst, id...), 0
}
