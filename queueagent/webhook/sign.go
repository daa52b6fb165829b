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

// SecretProblem says what is wrong with a secret, without a part of it; empty: nothing.
func SecretProblem(secret string) string {
	enc, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return ""
	}
	if key, err := base64.StdEncoding.DecodeString(enc); err != nil || len(key) == 0 {
		return "begins with whsec_, but what follows is not base64"
	}
	return ""
}

// newSecret decodes a webhook secret: "whsec_" and base64, as Standard Webhooks
// writes it, or the raw bytes.
func newSecret(setting, secret string) ([]byte, error) {
	if wrong := SecretProblem(secret); wrong != "" {
		return nil, fmt.Errorf("%s %s: copy the whole secret, or write one without whsec_", setting, wrong)
	}
	enc, ok := strings.CutPrefix(secret, "whsec_")
	if !ok {
		return []byte(secret), nil
	}
	return base64.StdEncoding.DecodeString(enc)
}

// secrets gives the keys to sign with, in the order of their signatures.
func (c Config) secrets() (keys [][]byte, err error) {
	all := []string{c.Secret}
	if c.Secret == "" {
		all = nil
	}
	all = append(all, c.Secrets...)
	if len(all) > MaxSecrets {
		return nil, fmt.Errorf("webhook.secrets has %d secrets, webhook.secret counted: keep at most %d", len(all), MaxSecrets)
	}
	for i, secret := range all {
		setting := fmt.Sprintf("webhook.secrets[%d]", i-len(all)+len(c.Secrets))
		if i < len(all)-len(c.Secrets) {
			setting = "webhook.secret"
		}
		if secret == "" {
			return nil, fmt.Errorf("%s is empty: write the secret, or remove the entry", setting)
		}
		key, err := newSecret(setting, secret)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// MaxSecrets bounds the signatures of one delivery.
const MaxSecrets = 8

// signer signs deliveries. It is not safe for concurrent use.
type signer struct {
	macs []hash.Hash
	buf  []byte
}

func newSigner(keys [][]byte) *signer {
	s := &signer{}
	for _, key := range keys {
		s.macs = append(s.macs, hmac.New(sha256.New, key))
	}
	return s
}

// appendSignatures appends the value of webhook-signature: for each secret "v1," and
// the base64 of the HMAC-SHA256 of "id.timestamp.body", with spaces between.
func (s *signer) appendSignatures(dst, id []byte, unix int64, body []byte) []byte {
	s.buf = append(append(s.buf[:0], id...), '.')
	s.buf = append(strconv.AppendInt(s.buf, unix, 10), '.')
	head := len(s.buf)
	for i, mac := range s.macs {
		if i > 0 {
			dst = append(dst, ' ')
		}
		mac.Reset()
		mac.Write(s.buf[:head])
		mac.Write(body)
		s.buf = mac.Sum(s.buf)
		dst = append(dst, "v1,"...)
		dst = base64.StdEncoding.AppendEncode(dst, s.buf[head:])
		s.buf = s.buf[:head]
	}
	return dst
}
