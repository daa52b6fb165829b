package main

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// keyOn gives a key whose slot a node has.
func keyOn(c *redistest.Cluster, n *redistest.Node, name string) string {
	for i := 0; ; i++ {
		if key := fmt.Sprintf("%s-%d", name, i); c.Owner(key) == n {
			return key
		}
	}
}

// TestTwoPodsOnACluster: all three jobs, with what people do to them, in slots of
// different nodes.
func TestTwoPodsOnACluster(t *testing.T) {
	c := redistest.StartCluster(t, 3, 3)
	sources := map[string]string{}
	for i, queue := range []string{"list", "delay", "stream"} {
		sources[queue] = keyOn(c, c.Masters[i], queue)
	}
	s := newSite(t, fmt.Sprintf("cluster: [%q, %q]", c.Masters[0].Addr, c.Masters[1].Addr), c.Client(), sources)
	t.Run("pages", func(t *testing.T) { s.T = t; s.pages() })
	t.Run("sessions", func(t *testing.T) { s.T = t; s.sessions() })
	t.Run("queues", func(t *testing.T) { s.T = t; s.queues() })
	t.Run("slots migrate", func(t *testing.T) { s.T = t; s.migrations(c) })
	t.Run("a replica is down", func(t *testing.T) { s.T = t; s.withoutReplica(c) })
	t.Run("a master is killed", func(t *testing.T) {
		s.T = t
		s.survives(func() { c.FailOver(c.Owner(sources["list"])) })
	})
}

// pages: what one pod has stored is a hit of the other, and each kind of purge reaches both.
func (s *site) pages() {
	for i := range 6 { // over the slots
		path := fmt.Sprintf("/item/%d", i)
		s.warm(path)
		if n := s.version(path); n != 1 {
			s.Errorf("%s was asked for %d times: want once", path, n)
		}
	}
	for _, purge := range [][]string{
		{"--tag", "item:1"}, {"--tag", "item:1", "--soft"}, {"--url", "http://shop.example/item/1"}, {"--prefix", "/item/1"}, {"--all"},
	} {
		s.warm("/item/1")
		was := s.version("/item/1")
		s.command(0, append([]string{"purge"}, purge...)...)
		s.gone("/item/1", was)
	}
	s.warm("/item/2")
	was := s.version("/item/2")
	if status, _, _, _ := s.ask(1, "POST", "/item/2", ""); status != 200 { // RFC 9111, 4.4
		s.Errorf("POST: %d", status)
	}
	s.gone("/item/2", was)
}

// sessions of one user are in different slots.
func (s *site) sessions() {
	first := s.login()
	second, third := s.login(), s.login()
	s.accepted(first, false) // max_per_user
	if status, _, _, id := s.ask(1, "POST", "/in/rotate", second); status != 200 || id == "" {
		s.Fatalf("rotate: %d", status)
	} else {
		s.accepted(second, false)
		second = id
	}
	s.accepted(second, true)
	redistest.Do(s.T, s.redis, "DEL", "session:"+third)
	s.accepted(third, false)
	third = s.login()
	if status, _, _, _ := s.ask(1, "POST", "/in/out", third); status != 200 {
		s.Fatalf("log-out everywhere: %d", status)
	}
	s.accepted(second, false)
	s.accepted(third, false)
}

// queues: deliver, retry, bury, replay, enqueue, pause, and prove it.
func (s *site) queues() {
	s.pushAll("plain")
	s.deliveredAll("plain", 1)
	s.app.answers("flaky", 500)
	s.pushAll("flaky")
	s.deliveredAll("flaky", 2)
	s.app.answers("flaky", 200)
	s.app.answers("dead", 410)
	s.pushAll("dead")
	for queue := range s.sources {
		eventually(s.T, queue+" has a dead letter", func() bool { return s.dead(queue) == 1 })
		if out := s.command(0, "queue", "dead", "list", queue); !strings.Contains(out, "gone") {
			s.Errorf("dead letters of %s: %s", queue, out)
		}
	}
	s.app.answers("dead", 200)
	for queue := range s.sources {
		s.command(0, "queue", "dead", "replay", queue, "--all")
		eventually(s.T, queue+" delivers what was replayed", func() bool { return s.app.delivered(queue, "dead") == 2 })
		s.enqueue(queue)
	}
	s.pause()
	s.proof()
}

// enqueue adds tasks by way of pillion: at once, later, and only once.
func (s *site) enqueue(queue string) {
	for path, want := range map[string]int{"": 202, "?delay=50ms": 202, "?dedup=1": 202} {
		if got := s.post(queue, path, "added"+path); got != want {
			s.Errorf("enqueue %s%s: %d, want %d", queue, path, got, want)
		}
		eventually(s.T, queue+" delivers what was added"+path, func() bool { return s.app.delivered(queue, "added"+path) == 1 })
	}
	if got := s.post(queue, "?dedup=1", "added?dedup=1"); got != 200 {
		s.Errorf("enqueue %s twice: %d, want 200", queue, got)
	}
}

// pause stops all queues for a while.
func (s *site) pause() {
	states := func(state string) {
		s.Helper()
		if out := s.command(0, "queue", "list"); strings.Count(out, state) != len(s.sources) {
			s.Errorf("queue list, want %s:\n%s", state, out)
		}
	}
	for queue := range s.sources {
		s.command(0, "queue", "pause", queue)
	}
	s.pushAll("paused")
	states("paused")
	for queue := range s.sources {
		s.command(0, "queue", "resume", queue)
	}
	states("running")
	s.deliveredAll("paused", 1)
}

// proof has fsck find and repair what somebody has broken in each of the queues.
func (s *site) proof() {
	s.idle()
	s.fsck(0, "nothing wrong")
	for queue := range s.sources {
		c := s.redis.B().Hset().Key(s.key(queue, "records")).FieldValue().FieldValue("lost", "f 0 0 1700000000000\nlost").Build()
		must(s.T, s.redis.Do(context.Background(), c).Error())
	}
	s.fsck(1, "orphan 1")
	s.fsck(0, "repaired", "--repair")
	s.fsck(0, "nothing wrong")
}

// migrations moves the slots of a session, a page and the queues' sources while they are in use.
func (s *site) migrations(c *redistest.Cluster) {
	move := func(key string, meanwhile func()) {
		s.Helper()
		m := c.BeginMove(key, c.Other(c.Owner(key)))
		m.Keys()
		meanwhile()
		m.End()
	}
	id := s.login()
	move("session:"+id, func() {
		s.accepted(id, true)
		redistest.Do(s.T, s.redis, "DEL", "session:"+id)
		s.accepted(id, false)
	})
	for _, name := range []string{"", "pillion:t:item:7"} { // of the entry, of its mark
		s.warm("/item/7")
		if name == "" {
			name = s.entry("/item/7")
		}
		move(name, func() {
			s.warm("/item/7")
			was := s.version("/item/7")
			s.command(0, "purge", "--url", "http://shop.example/item/7")
			s.gone("/item/7", was) // and each request asks the application, without waiting
		})
		s.warm("/item/7")
		was := s.version("/item/7")
		s.command(0, "purge", "--tag", "item:7")
		s.gone("/item/7", was)
	}
	var moves []*redistest.Move
	for queue, key := range s.sources {
		m := c.BeginMove(key, c.Other(c.Owner(key)))
		m.Keys()
		moves = append(moves, m)
		for i := range 50 {
			must(s.T, s.redis.Do(context.Background(), s.task(queue, fmt.Sprintf("moved-%d", i))).Error())
		}
	}
	for _, m := range moves {
		m.End()
	}
	for i := range 50 {
		s.deliveredAll(fmt.Sprintf("moved-%d", i), 1)
	}
}

// withoutReplica: what asks every node does not need the replicas.
func (s *site) withoutReplica(c *redistest.Cluster) {
	c.Replicas[0].Kill()
	for _, purge := range []string{"--prefix=/item/3", "--all"} {
		s.warm("/item/3")
		was := s.version("/item/3")
		s.command(0, "purge", purge)
		s.gone("/item/3", was)
	}
	s.idle()
	s.fsck(0, "nothing wrong")
	c.Restart(c.Replicas[0])
}

// entry gives the Redis key of the one page that is stored now.
func (s *site) entry(path string) string {
	s.Helper()
	s.command(0, "purge", "--all")
	s.warm(path)
	for _, node := range s.redis.Nodes() {
		found, err := node.Do(context.Background(), node.B().Scan().Cursor(0).Match("pillion:c:*").Count(10000).Build()).AsScanEntry()
		must(s.T, err)
		if len(found.Elements) > 0 {
			return found.Elements[0]
		}
	}
	s.Fatal("no page is stored")
	return ""
}

// TestTwoPodsWithSentinels: a failover, as on a Cluster.
func TestTwoPodsWithSentinels(t *testing.T) {
	r := redistest.StartSentinels(t)
	sources := map[string]string{"list": "list", "delay": "delay", "stream": "stream"}
	s := newSite(t, fmt.Sprintf("sentinel: { master: %s, addresses: [%q, %q, %q] }",
		redistest.MasterName, r.Addrs()[0], r.Addrs()[1], r.Addrs()[2]), r.Client(), sources)
	s.pages()
	s.sessions()
	s.survives(r.FailOver)
}
