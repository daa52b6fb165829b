package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// forbid takes a right from the user, and gives a function that returns it.
func (r *rig) forbid(command string) (allow func()) {
	r.tb.Helper()
	r.do("ACL", "SETUSER", "default", "-"+command)
	return func() { r.do("ACL", "SETUSER", "default", "+"+command) }
}

// mistype puts a string in the place of a key, and gives a function that removes it.
func (r *rig) mistype(key string) (remove func()) {
	r.tb.Helper()
	r.do("SET", key, "somebody's")
	return func() { r.do("DEL", key) }
}

func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	if _, replied := rueidis.IsRedisErr(err); !replied {
		t.Errorf("%s: error %v, want one of Redis", what, err)
	}
}

// produce writes ten tasks.
func (r *rig) produce(kind Kind) {
	r.tb.Helper()
	for i := range 10 {
		switch task := fmt.Sprintf("t%d", i); kind {
		case List:
			r.do("RPUSH", "src", task)
		case Delay:
			r.do("ZADD", "src", fmt.Sprint(i), task)
		case Stream:
			r.do("XADD", "src", "*", "field", task)
		}
	}
}

// Redis undoes nothing of a script that it stops. So a claim whose record or lease is refused
// must not have taken the task.
func TestARefusedClaimTakesNothing(t *testing.T) {
	for kind, name := range map[Kind]string{List: "list", Delay: "delay", Stream: "stream"} {
		for what, refuse := range map[string]func(*rig, Keys) func(){
			"right to hset":   func(r *rig, _ Keys) func() { return r.forbid("hset") },
			"right to zadd":   func(r *rig, _ Keys) func() { return r.forbid("zadd") },
			"type of records": func(r *rig, k Keys) func() { return r.mistype(k.Records) },
			"type of leases":  func(r *rig, k Keys) func() { return r.mistype(k.Leases) },
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				r := newRig(t)
				s := r.store("a", kind, "src", time.Minute, func(o *Options) {
					o.Source.Field, o.Source.Delete, o.Source.MinIdle = "field", true, time.Millisecond
				})
				r.produce(kind)
				allow := refuse(r, s.Keys)
				for range 3 {
					_, err := s.Claim(context.Background(), 1, 4)
					wantRefused(t, "claim", err)
				}
				allow()
				got := mustClaim(t, s, 1, 20).Tasks
				if kind == Stream { // what the group was given is with the group
					eventually(t, "the entries are adopted", func() bool {
						_, _, err := s.Adopt(context.Background(), uint64(time.Now().UnixNano()), "0-0")
						return err == nil && r.pending("src", "g") == 0
					})
					got = append(got, mustClaim(t, s, 2, 20).Tasks...)
					slices.SortFunc(got, func(a, b Task) int { return strings.Compare(a.Payload, b.Payload) })
				}
				if p, want := payloads(got), "t0,t1,t2,t3,t4,t5,t6,t7,t8,t9"; p != want {
					t.Errorf("then claimed %q: want %q", p, want)
				}
				if got := mustFsck(t, s, false); got.Broken() {
					t.Errorf("%+v", got.Findings)
				}
			})
		}
	}
}

// A popped list is put back at the end that it is popped from.
func TestARefusedClaimFromTheRight(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "src", time.Minute, func(o *Options) { o.Source.FromRight = true })
	r.produce(List)
	allow := r.mistype(s.Keys.Records)
	_, err := s.Claim(context.Background(), 1, 4)
	wantRefused(t, "claim", err)
	allow()
	if got, want := payloads(mustClaim(t, s, 1, 20).Tasks), "t9,t8,t7,t6,t5,t4,t3,t2,t1,t0"; got != want {
		t.Errorf("then claimed %q: want %q", got, want)
	}
}

// The same of all that ends a lease: as long as it is refused, the lease stays, and the same
// call succeeds afterwards.
func TestWhatIsRefusedKeepsItsLease(t *testing.T) {
	ctx := context.Background()
	resolve := func(a Action) func(*Store, Task) error {
		return func(s *Store, task Task) error {
			_, err := s.Resolve(ctx, Resolution{ID: task.ID, Token: task.Token(), Action: a, Reason: "rejected"})
			return err
		}
	}
	ack := func(s *Store, task Task) error { _, err := s.Ack(ctx, []string{task.Member}); return err }
	bury := func(s *Store, task Task) error { _, err := s.Bury(ctx, []Grave{{Member: task.Member}}); return err }
	pend := func(s *Store, task Task) error {
		_, err := s.Pend(ctx, []Pending{{task.Member, time.Hour}})
		return err
	}
	reap := func(s *Store, task Task) error { _, err := s.Reap(ctx, []string{task.Member}); return err }
	nack := func(s *Store, task Task) error {
		_, err := s.Nack(ctx, []Back{{Member: task.Member, Attempt: true}})
		return err
	}
	right := func(name string) func(*rig, Keys) func() {
		return func(r *rig, _ Keys) func() { return r.forbid(name) }
	}
	dead := func(r *rig, k Keys) func() { return r.mistype(k.Dead) }
	retry := func(r *rig, k Keys) func() { return r.mistype(k.Retry) }
	for _, c := range []struct {
		name   string
		refuse func(*rig, Keys) func()
		call   func(*Store, Task) error
		left   string // where the task is in the end
	}{
		{"ack without hdel", right("hdel"), ack, ""},
		{"bury without xadd", right("xadd"), bury, "dead"},
		{"bury to another type", dead, bury, "dead"},
		{"nack without zadd", right("zadd"), nack, "retry"},
		{"nack without hset", right("hset"), nack, "retry"},
		{"nack to another type", retry, nack, "retry"},
		{"pend without zadd", right("zadd"), pend, "leases"},
		{"reap without zadd", right("zadd"), reap, "retry"},
		{"resolve: ack without hdel", right("hdel"), resolve(ActAck), ""},
		{"resolve: release to another type", retry, resolve(ActRelease), "retry"},
		{"resolve: retry without hset", right("hset"), resolve(ActRetry), "retry"},
		{"resolve: bury to another type", dead, resolve(ActBury), "dead"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			s := r.store("a", List, "src", time.Minute)
			r.do("RPUSH", "src", "task")
			task := mustClaim(t, s, 1, 1).Tasks[0]
			allow := c.refuse(r, s.Keys)
			for range 2 {
				wantRefused(t, "refused", c.call(s, task))
			}
			if r.do("ZSCORE", s.Keys.Leases, task.Member).Error() != nil {
				t.Error("the lease is gone")
			}
			allow()
			if err := c.call(s, task); err != nil {
				t.Error(err)
			}
			got := mustFsck(t, s, false)
			where := fmt.Sprint(got.Leases, got.Retries, got.Dead)
			if want := map[string]string{"": "0 0 0", "leases": "1 0 0", "retry": "0 1 0", "dead": "0 0 1"}[c.left]; where != want || got.Broken() {
				t.Errorf("leases, retries, dead letters: %s, want %s; %+v", where, want, got.Findings)
			}
		})
	}
}

// Replaying moves tasks, and delivering them frees memory: a full Redis must allow it.
func TestReplayInAFullRedis(t *testing.T) {
	r := newRig(t)
	ctx := context.Background()
	s := r.store("a", List, "src", time.Minute)
	r.do("RPUSH", "src", "task")
	if n, err := s.Bury(ctx, []Grave{{Member: mustClaim(t, s, 1, 1).Tasks[0].Member, Reason: "gone"}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r.do("CONFIG", "SET", "maxmemory", "1")
	if got, err := s.ReplayDead(ctx, DeadFilter{}); got.Changed != 1 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// What somebody else wrote among the leases must not keep others, that have ended, from being
// taken away.
func TestReapPassesALeaseWithoutAToken(t *testing.T) {
	r := newRig(t)
	s := r.store("a", List, "src", time.Minute)
	r.do("RPUSH", "src", "task")
	task := mustClaim(t, s, 1, 1).Tasks[0]
	r.do("HSET", s.Keys.Records, "bare", "f 0 0 1700000000000\nother")
	r.do("ZADD", s.Keys.Leases, "1", "bare", "2", "nothing", "3", task.Member)
	if got, err := s.Reap(context.Background(), nil); got.Taken != 3 || got.Requeued != 2 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if got := payloads(mustClaim(t, s, 2, 9).Tasks); got != "other,task" {
		t.Errorf("then claimed %q", got)
	}
}
