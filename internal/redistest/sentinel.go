package redistest

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redisproc"
)

// MasterName is what the sentinels call their master.
const MasterName = "mymaster"

// Sentinels are three sentinels with a master and its replica, all of the test's own.
type Sentinels struct {
	Master, Replica *Node // as they began
	Watchers        []*Node
	tb              testing.TB
}

// StartSentinels runs them, and waits until the sentinels know each other and the
// replica, which is in sync. A master that has not answered for a second is taken for dead.
func StartSentinels(tb testing.TB) *Sentinels {
	tb.Helper()
	s := &Sentinels{tb: tb, Master: node(tb, redisproc.Options{}), Replica: node(tb, redisproc.Options{
		Args: []string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"},
	})}
	host, port, _ := net.SplitHostPort(s.Master.Addr)
	s.Replica.Do(tb, "REPLICAOF", host, port)
	Eventually(tb, "the replica is in sync", func() bool {
		repl, err := s.Replica.info("INFO", "replication")
		return err == nil && repl["master_link_status"] == "up"
	})
	for range 3 {
		s.Watchers = append(s.Watchers, node(tb, redisproc.Options{Sentinel: fmt.Sprintf(
			"sentinel monitor %[1]s %[2]s %[3]s 2\nsentinel down-after-milliseconds %[1]s 1000\nsentinel failover-timeout %[1]s 5000\n", MasterName, host, port)}))
	}
	for _, w := range s.Watchers {
		Eventually(tb, "the sentinel knows all", func() bool {
			m, err := w.conn.Do(context.Background(), w.conn.B().Arbitrary("SENTINEL", "MASTER", MasterName).Build()).AsStrMap()
			return err == nil && m["num-slaves"] == "1" && m["num-other-sentinels"] == "2" && m["flags"] == "master"
		})
	}
	return s
}

// node runs one server.
func node(tb testing.TB, o redisproc.Options) *Node {
	tb.Helper()
	o.TCP = true
	srv, err := redisproc.Start(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := srv.Stop(); err != nil {
			tb.Error(err)
		}
	})
	return &Node{Server: srv, conn: Client(tb, srv)}
}

// Addrs gives the addresses of the sentinels.
func (s *Sentinels) Addrs() (addrs []string) {
	for _, w := range s.Watchers {
		addrs = append(addrs, w.Addr)
	}
	return addrs
}

// Client opens a client that follows the master, as a program that is not pillion has one.
func (s *Sentinels) Client() rueidis.Client {
	s.tb.Helper()
	c, err := rueidis.NewClient(rueidis.ClientOption{
		InitAddress: s.Addrs(), DisableCache: true, Sentinel: rueidis.SentinelOption{MasterSet: MasterName},
	})
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(c.Close)
	return c
}

// FailOver kills the master without warning, and waits until the replica is the master.
func (s *Sentinels) FailOver() {
	s.tb.Helper()
	s.Master.Kill()
	Eventually(s.tb, "the replica is the master", func() bool {
		repl, err := s.Replica.info("INFO", "replication")
		return err == nil && repl["role"] == "master"
	})
}
