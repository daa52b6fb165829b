package tasks

import (
	"crypto/rand"
	"encoding/hex"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redisproc"
	"github.com/pillion-proxy/pillion/internal/redistest"
)

// rig is a Redis with a client.
type rig struct {
	tb  testing.TB
	srv *redisproc.Server
	c   rueidis.Client
}

func (r *rig) Client() rueidis.Client { return r.c }

func newRig(tb testing.TB, args ...string) *rig {
	tb.Helper()
	srv := redistest.Start(tb, args...)
	return &rig{tb, srv, redistest.Client(tb, srv)}
}

func (r *rig) do(args ...string) rueidis.RedisResult {
	r.tb.Helper()
	return redistest.Do(r.tb, r.c, args...)
}

func (r *rig) int(args ...string) int64 {
	r.tb.Helper()
	return redistest.Int(r.tb, r.c, args...)
}

// store makes the store of a queue called q, as agent's process.
func (r *rig) store(agent string, kind Kind, source string, lease time.Duration, change ...func(*Options)) *Store {
	r.tb.Helper()
	scripts, err := LoadScripts()
	if err != nil {
		r.tb.Fatal(err)
	}
	var nonce [16]byte
	_, _ = rand.Read(nonce[:])
	o := Options{
		Redis: r, Scripts: scripts, Prefix: "t:", Queue: "q", Agent: agent, Nonce: hex.EncodeToString(nonce[:]),
		Source: Source{Kind: kind, Key: source, Group: "g"}, Lease: lease, MaxAttempts: 3, MaxAbandons: 5,
	}
	for _, f := range change {
		f(&o)
	}
	return New(o)
}

// eventually polls until ok. What is certain to happen may take long on a busy machine.
func eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	tb.Fatalf("not within a minute: %s", what)
}
