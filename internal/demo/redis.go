package demo

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/alicebob/miniredis/v2"

	"github.com/pillion-proxy/pillion/internal/redisproc"
)

// redisServer is the demo's own Redis. Not safe for concurrent use.
type redisServer interface {
	// describe says in words which one it is, and in which mode pillion uses it.
	describe() []string
	addr() string // host:port on loopback
	url() string  // for pillion
	// tracking says whether it has CLIENT TRACKING.
	tracking() bool
	// kill ends it without a goodbye; restart starts an empty one at the same address.
	kill()
	restart() error
	// stop ends it and removes what it left.
	stop() error
}

// startRedis starts redis-server or valkey-server from PATH, else the built-in one.
func startRedis(embedded bool) (redisServer, error) {
	if embedded {
		return startEmbedded("as asked for")
	}
	bin, err := redisproc.Find()
	if errors.Is(err, redisproc.ErrNotFound) {
		return startEmbedded("since neither redis-server nor valkey-server is on PATH")
	}
	if err != nil {
		return nil, err
	}
	srv, err := redisproc.Start(redisproc.Options{TCP: true, Port: 6379})
	if err != nil {
		return nil, err
	}
	return &processRedis{srv: srv, name: filepath.Base(bin)}, nil
}

// processRedis is a redis-server process.
type processRedis struct {
	srv  *redisproc.Server
	name string
}

func (p *processRedis) describe() []string {
	return []string{
		fmt.Sprintf("%s on %s, started for this demo; it keeps nothing on disk.", p.name, p.srv.Addr),
		"It tells pillion which keys change (CLIENT TRACKING), so hits come from",
		"pillion's memory and ask Redis nothing.",
	}
}

func (p *processRedis) addr() string   { return p.srv.Addr }
func (p *processRedis) url() string    { return "unix://" + p.srv.Socket }
func (p *processRedis) tracking() bool { return true }
func (p *processRedis) kill()          { p.srv.Kill() }
func (p *processRedis) restart() error { return p.srv.Restart() }
func (p *processRedis) stop() error    { return p.srv.Stop() }

// embeddedRedis is a miniredis in this process.
type embeddedRedis struct {
	srv     *miniredis.Miniredis
	address string
	why     string
}

func startEmbedded(why string) (*embeddedRedis, error) {
	addr, err := freeAddr("6379")
	if err != nil {
		return nil, err
	}
	e := &embeddedRedis{address: addr, why: why}
	return e, e.restart()
}

func (e *embeddedRedis) describe() []string {
	return []string{
		fmt.Sprintf("built into this program (miniredis) on %s,", e.address),
		e.why + ".",
		"It has no CLIENT TRACKING, so this is the untracked mode, which a managed Redis",
		"without it gets too: pages stay in memory for a second at most, and each session",
		"check asks Redis.",
	}
}

func (e *embeddedRedis) addr() string   { return e.address }
func (e *embeddedRedis) url() string    { return "redis://" + e.address + "/0" }
func (e *embeddedRedis) tracking() bool { return false }
func (e *embeddedRedis) kill()          { e.srv.Close() }
func (e *embeddedRedis) stop() error    { e.srv.Close(); return nil }

// restart makes a new server: like a redis-server that keeps nothing on disk, and
// miniredis's own Restart leaves blocking commands broken.
func (e *embeddedRedis) restart() error {
	e.srv = miniredis.NewMiniRedis()
	// Without it lifetimes stand still. It follows the clock on every command, so
	// an expired key is never seen, as none is in Redis.
	e.srv.ClockTTL(true)
	if err := e.srv.StartAddr(e.address); err != nil {
		return fmt.Errorf("start the built-in redis on %s: %w", e.address, err)
	}
	return nil
}
