package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash"
	"strconv"
	"strings"
)

// newSecret decodes a webhook secret: "whsec_" and base64, as Standard Webhooks
// writes it, or the raw bytes.
func newSecret(secret string) ([]byte, error) {
	enc, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret), nil
	}
	key, err := base64.StdEncoding.DecodeString(enc)
	if err != nil || len(key) == 0 {
		// The value itself is a secret: it is not repeated.
		return nil, fmt.Errorf(`webhook.secret starts with "whsec_" but goes on with what is not base64: copy it whole, or use another prefix for raw bytes`)
	}
	return key, nil
}

// signer signs deliveries. It is not safe for concurrent use.
type signer struct {
	mac hash.Hash
	buf []byte
}

func newSigner(key []byte) *signer { return &signer{mac: hmac.New(sha256.New, key)} }

// sign gives the webhook-signature header: "v1," and the base64 of the HMAC-SHA256
// of "id.timestamp.body". It is valid until the next call.
func (s *signer) sign(id string, unix int64, body []byte) []byte {
	s.mac.Reset()
	s.buf = append(append(s.buf[:0], id...), '.')
	s.buf = append(strconv.AppendInt(s.buf, unix, 10), '.')
	s.mac.Write(s.buf)
	s.mac.Write(body)
	sum := s.mac.Sum(s.buf[:0])
	var raw [sha256.Size]byte
	copy(raw[:], sum)
	s.buf = append(s.buf[:0], "v1,"...)
	s.buf = base64.StdEncoding.AppendEncode(s.buf, raw[:])
	return s.buf
}
