package sessioncheck

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/pillion-proxy/pillion/redisconn"
)

// namespace is a network of its own with a redis-server in it, behind one link.
type namespace struct {
	*testing.T
	name, host, inner, addr string
}

// newNamespace makes the network. Without the rights or the programs for it the test is
// skipped, loudly.
func newNamespace(t *testing.T) *namespace {
	t.Helper()
	if os.Getenv("HALF_OPEN") == "" {
		t.Skip("NOT TESTED: `make halfopen` asks for it; it needs root and iproute2")
	}
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: a network namespace needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("NOT TESTED: ip (iproute2) is not installed")
	}
	id := fmt.Sprint(os.Getpid() % 100000)
	n := &namespace{T: t, name: "pillion" + id, host: "plh" + id, inner: "pli" + id, addr: "10.213.77.2"}
	if out, err := exec.Command("ip", "netns", "add", n.name).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: no network namespace can be made here: %v: %s", err, out)
	}
	t.Cleanup(func() { n.ip("netns", "del", n.name) })
	n.ip("link", "add", n.host, "type", "veth", "peer", "name", n.inner)
	t.Cleanup(func() { n.ip("link", "del", n.host) })
	n.ip("link", "set", n.inner, "netns", n.name)
	n.ip("addr", "add", "10.213.77.1/30", "dev", n.host)
	n.ip("link", "set", n.host, "up")
	n.ip("-n", n.name, "addr", "add", n.addr+"/30", "dev", n.inner)
	n.ip("-n", n.name, "link", "set", "lo", "up")
	n.ip("-n", n.name, "link", "set", n.inner, "up")
	cmd := exec.Command("ip", "netns", "exec", n.name, "redis-server", "--port", "6379", "--bind", "0.0.0.0",
		"--protected-mode", "no", "--save", "", "--dir", t.TempDir(), "--logfile", filepath.Join(t.TempDir(), "log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return n
}

func (n *namespace) ip(args ...string) {
	n.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		n.Fatalf("ip %v: %v: %s", args, err, out)
	}
}

// redis asks Redis from inside of the network: the cut is not in the way.
func (n *namespace) redis(args ...string) string {
	n.Helper()
	out, err := exec.Command("ip", append([]string{"netns", "exec", n.name, "redis-cli"}, args...)...).CombinedOutput()
	if err != nil {
		n.Fatalf("redis-cli %v: %v: %s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestHalfOpenLink cuts the link without a reset or a FIN, and ends the session beyond
// it: nobody tells this process. Nothing is accepted later than redis.max_staleness and a
// second after the cut; then nothing is known, which is not that the session is absent.
func TestHalfOpenLink(t *testing.T) {
	n := newNamespace(t)
	rc := redisconn.Default()
	rc.URL = "redis://" + n.addr + ":6379"
	conn, err := redisconn.Open(rc, 4<<20, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c, err := New(Default(), conn, zerolog.Nop())
	if err != nil {
		t.Fatal(err)
	}
	worst := time.Duration(0)
	for range 10 {
		waitFor(t, "Redis is up", conn.Up)
		n.redis("SET", "session:s1", `{"user_id":1}`)
		waitFor(t, "the session is valid", func() bool { return checkOf(c, "s1").Status == Valid })
		began := time.Now()
		n.ip("-n", n.name, "link", "set", n.inner, "down")
		n.redis("DEL", "session:s1")
		cut := time.Now()
		last := acceptedUntil(t, c, cut, rc.MaxStaleness+3*time.Second)
		worst = max(worst, last.Sub(began))
		if late := last.Sub(began); late > rc.MaxStaleness+time.Second {
			t.Errorf("accepted %v after the cut, with max_staleness %v", late, rc.MaxStaleness)
		}
		n.ip("-n", n.name, "link", "set", n.inner, "up")
		waitFor(t, "the end of the session is seen", func() bool { return checkOf(c, "s1").Status == Absent })
	}
	t.Logf("10 cuts with max_staleness %v: accepted for at most %v after the cut", rc.MaxStaleness, worst)
}

// acceptedUntil checks a session without a pause, and gives when it was last accepted.
func acceptedUntil(t *testing.T, c *Checker, cut time.Time, span time.Duration) (last time.Time) {
	t.Helper()
	last = cut
	for time.Since(cut) < span {
		began := time.Now()
		switch r := checkOf(c, "s1"); r.Status {
		case Valid:
			last = began
		case Absent:
			t.Fatalf("the session counts as absent %v after the cut: nobody can have said so", time.Since(cut))
		}
	}
	return last
}

func checkOf(c *Checker, id string) Result {
	return c.Check(context.Background(), []byte("X-Session-ID: "+id+"\r\n"), time.Now())
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
