package formats

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// laravel is the session driver redis: a cache entry, whose value PHP serializes twice.
// The defaults are those of new applications; older ones have "_" for "-", or a colon.
func laravel() *Format {
	return &Format{
		Name: "laravel", Key: "laravel-database-laravel-cache-{id}", Cookies: []string{"laravel-session", "laravel_session"},
		TTL: 2 * time.Hour, Sliding: true, User: "login_web", Login: []string{"login_web"}, Secrets: RequiredSecrets,
		Stored: "a session that PHP serialized twice, of at most 64 KiB, not encrypted", Decode: decodeLaravel,
		verifier: newEncrypted,
	}
}

// decodeLaravel gives login_GUARD_HASH, with the id of the user who is logged in
// through that guard, as login_GUARD: the hash is of a class name that an application
// may have replaced.
func decodeLaravel(raw string) map[string]any {
	if len(raw) > MaxBytes {
		return nil
	}
	r := &phpReader{reader{data: raw}}
	v, ok := r.value(0)
	inner, isText := v.(string)
	if !ok || !isText || r.left() > 0 {
		return nil
	}
	doc := JSON(inner) // session.serialization: json
	if !strings.HasPrefix(inner, "{") {
		if doc, ok = phpArray(inner); !ok {
			return nil
		}
	}
	addLogins(doc)
	return doc
}

// addLogins: two logins through one guard, of a class before and after it was replaced,
// must not give now the one and now the other user. Where they differ there is no user.
func addLogins(doc map[string]any) {
	logins := map[string]any{}
	for name, v := range doc {
		guard, isLogin := strings.CutPrefix(name, "login_")
		i := strings.LastIndexByte(guard, '_')
		if !isLogin || i <= 0 || len(guard)-i-1 != 2*sha1.Size {
			continue
		}
		guard = guard[:i]
		if old, twice := logins[guard]; twice {
			a, ok1 := keyName(old)
			b, ok2 := keyName(v)
			if !ok1 || !ok2 || a != b {
				v = Opaque{}
			}
		}
		logins[guard] = v
	}
	for guard, v := range logins {
		doc["login_"+guard] = v
	}
}

// encrypted is the base64 of {"iv":…,"value":…,"mac":…}: the value is under
// AES-CBC, and the MAC is over iv and value. Within is a MAC of the cookie's name, so
// that no other cookie of the application passes for this one, and the id.
type encrypted struct {
	*macs
	syntax
	blocks   []cipher.Block
	prefixes [][]byte
}

func newEncrypted(secrets []string, cookie string) (Verifier, error) {
	v := &encrypted{syntax: newSyntax(40, 40, alnum)}
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		key := []byte(secret)
		if text, ok := strings.CutPrefix(secret, "base64:"); ok {
			var err error
			if key, err = base64.StdEncoding.DecodeString(text); err != nil {
				return nil, fmt.Errorf("is not valid base64 behind its prefix")
			}
		}
		if len(key) != 16 && len(key) != 32 {
			return nil, fmt.Errorf("has %d bytes, not the 32 of AES-256 or the 16 of AES-128", len(key))
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		mac := hmac.New(sha1.New, key)
		mac.Write([]byte(cookie + "v2"))
		v.prefixes = append(v.prefixes, append(hex.AppendEncode(nil, mac.Sum(nil)), '|'))
		v.blocks = append(v.blocks, block)
		keys[i] = key
	}
	v.macs = newSHA256(keys)
	return v, nil
}

func (v *encrypted) Steps() []Step {
	return []Step{
		{"the cookie is URL-encoded base64 of at most 4096 bytes", "send the cookie's value as the browser has it"},
		{"it holds iv, value and mac", "the cookie is not encrypted: it must not be in the exceptions of EncryptCookies, and ciphers in GCM mode are not supported"},
		{"the MAC was made with one of session.secrets", "write APP_KEY into session.secrets, with its base64: in front, and the former keys of APP_PREVIOUS_KEYS behind it"},
		{"the value can be decrypted", "let Laravel use the cipher AES-256-CBC"},
		{"it was made for a cookie of this name", "name the session's cookie in session.sources as SESSION_COOKIE does"},
		v.step(),
	}
}

func (v *encrypted) AppendID(dst, value []byte) ([]byte, int) {
	if len(value) > maxCookieBytes {
		return dst, 1
	}
	s := v.get()
	defer v.put(s)
	text, ok := unescape(s.work[:0], value)
	s.work = text
	if !ok {
		return dst, 1
	}
	payload, ok := unbase64(s.payload[:0], text)
	s.payload = payload
	if !ok {
		return dst, 1
	}
	iv, sealed, mac, ok := laravelPayload(payload)
	if !ok {
		return dst, 2
	}
	key := s.match(mac, hex.AppendEncode, iv, sealed)
	if key < 0 {
		return dst, 3
	}
	plain, ok := v.decrypt(s, v.blocks[key], iv, sealed)
	if !ok {
		return dst, 4
	}
	id, ok := bytes.CutPrefix(plain, v.prefixes[key])
	if !ok {
		return dst, 5
	}
	if !v.valid(id) {
		return dst, 6
	}
	return append(dst, id...), 0
}

// decrypt undoes AES-CBC with the padding of PKCS #7. It runs only on what the MAC
// has proved to be the application's own, so its errors tell an attacker nothing.
func (v *encrypted) decrypt(s *macState, block cipher.Block, iv64, sealed64 []byte) ([]byte, bool) {
	work, ok := unbase64(s.work[:0], iv64)
	s.work = work
	if !ok || len(work) != aes.BlockSize {
		return nil, false
	}
	work, ok = unbase64(work, sealed64)
	s.work = work
	if !ok || len(work) == aes.BlockSize || len(work)%aes.BlockSize != 0 {
		return nil, false
	}
	// From the last block to the first, each in its place: the one before it is needed.
	for at := len(work) - aes.BlockSize; at > 0; at -= aes.BlockSize {
		b, before := work[at:at+aes.BlockSize], work[at-aes.BlockSize:at]
		block.Decrypt(b, b)
		for i := range b {
			b[i] ^= before[i]
		}
	}
	plain := work[aes.BlockSize:]
	pad := int(plain[len(plain)-1])
	if pad == 0 || pad > aes.BlockSize {
		return nil, false
	}
	for _, c := range plain[len(plain)-pad:] {
		if int(c) != pad {
			return nil, false
		}
	}
	return plain[:len(plain)-pad], true
}

// laravelPayload reads an object of strings, in place: json_encode may have written
// "/" as "\/", and nothing else in base64 and hexadecimal digits needs an escape. A
// member tag that is not empty belongs to a GCM cipher.
func laravelPayload(json []byte) (iv, value, mac []byte, ok bool) {
	json, ok = bytes.CutPrefix(json, []byte("{"))
	for ok {
		var name, text []byte
		if name, json, ok = jsonText(json); !ok || len(json) == 0 || json[0] != ':' {
			return nil, nil, nil, false
		}
		if text, json, ok = jsonText(json[1:]); !ok || len(json) == 0 {
			return nil, nil, nil, false
		}
		switch string(name) {
		case "iv":
			iv = text
		case "value":
			value = text
		case "mac":
			mac = text
		case "tag":
			if len(text) > 0 {
				return nil, nil, nil, false
			}
		}
		end := json[0]
		if json = json[1:]; end == '}' {
			return iv, value, mac, iv != nil && value != nil && mac != nil && len(json) == 0
		}
		ok = end == ','
	}
	return nil, nil, nil, false
}

// jsonText reads one string and removes the escapes of "/" in place.
func jsonText(json []byte) (text, rest []byte, ok bool) {
	if len(json) == 0 || json[0] != '"' {
		return nil, nil, false
	}
	n := 1
	for i := 1; i < len(json); i++ {
		switch c := json[i]; {
		case c == '"':
			return json[1:n], json[i+1:], true
		case c == '\\':
			if i++; i == len(json) || json[i] != '/' {
				return nil, nil, false
			}
			fallthrough
		default:
			json[n] = json[i]
			n++
		}
	}
	return nil, nil, false
}
