package queueagent

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/queueagent/tasks"
)

func TestRetryDelayStaysWithinItsBounds(t *testing.T) {
	r := Retry{Min: time.Second, Max: 10 * time.Minute}
	for failed, bound := range map[int]time.Duration{1: 2 * time.Second, 2: 4 * time.Second, 5: 32 * time.Second, 10: 10 * time.Minute, 1000: 10 * time.Minute} {
		low, high := r.Max, time.Duration(0)
		for range 2000 {
			d := r.delay(failed)
			low, high = min(low, d), max(high, d)
		}
		if low < r.Min || high > bound {
			t.Errorf("after %d failures: %s to %s: want within 1s and %s", failed, low, high, bound)
		}
		if spread := bound - r.Min; low > r.Min+spread/10 || high < bound-spread/10 {
			t.Errorf("after %d failures: %s to %s: want all of 1s to %s", failed, low, high, bound)
		}
	}
	same := Retry{Min: time.Second, Max: time.Second}
	if d := same.delay(3); d != time.Second {
		t.Errorf("min = max = 1s gives %s", d)
	}
}

func TestNewRefuses(t *testing.T) {
	ok := testConfig("q", tasks.List, "l", "http://h/")
	change := func(f func(*Config)) []Config { c := ok; f(&c); return []Config{c} }
	for want, cfgs := range map[string][]Config{
		"name is empty":                 change(func(c *Config) { c.Name = "" }),
		"one of list, delay and stream": change(func(c *Config) { c.Delay = "z" }),
		"concurrency 0":                 change(func(c *Config) { c.Concurrency = 0 }),
		"lease 1ms":                     change(func(c *Config) { c.Lease = time.Millisecond }),
		"webhook.timeout":               change(func(c *Config) { c.Webhook.Timeout = 0 }),
		"webhook.url":                   change(func(c *Config) { c.Webhook.URL = "" }),
		"webhook.secret":                change(func(c *Config) { c.Webhook.Secret = "whsec_?" }),
		"max_attempts 0":                change(func(c *Config) { c.Retry.MaxAttempts = 0 }),
		"max_abandons 0":                change(func(c *Config) { c.Retry.MaxAbandons = 0 }),
		"retry.max 1ms":                 change(func(c *Config) { c.Retry.Max = time.Millisecond }),
		"that name":                     {ok, ok},
	} {
		if _, err := New(cfgs, nil, "p:", "a", zerolog.Nop()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want an error with %q", err, want)
		}
	}
	if _, err := New([]Config{ok}, nil, "{p}:", "a", zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "redis.prefix") {
		t.Errorf("prefix with a tag: %v", err)
	}
	if _, err := New([]Config{ok}, nil, "p:", "", zerolog.Nop()); err == nil {
		t.Error("an empty agent id is taken")
	}
}

// verify is the receiver's side of Standard Webhooks, written from the specification.
func verify(p post, key []byte) error {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", p.header["webhook-id"], p.header["webhook-timestamp"], p.body)
	want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if got := p.header["webhook-signature"]; got != want {
		return fmt.Errorf("webhook-signature %q: want %q", got, want)
	}
	return nil
}

func TestRefusalsAreLoggedSeldom(t *testing.T) {
	var r refusals
	now := time.Now()
	for i := range 100 { // two scripts are refused, a third is not
		for _, msg := range []string{"NOPERM a", "NOPERM b"} {
			if got := r.note(msg, now); got != (i == 0) {
				t.Fatalf("round %d, %s: logged %t", i, msg, got)
			}
		}
		if got := r.end(); got != (i == 0) {
			t.Fatalf("round %d: the end is logged: %t", i, got)
		}
	}
	if !r.note("NOPERM a", now.Add(refusalPace)) || !r.end() {
		t.Error("what goes on is not said again after a while")
	}
	for i := range 1000 {
		r.note(strconv.Itoa(i), now)
	}
	if len(r.said) > maxRefusals {
		t.Errorf("%d errors are kept", len(r.said))
	}
}
