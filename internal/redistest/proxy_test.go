package redistest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/internal/redistest"
)

// viaProxy gives a client that repeats nothing, behind a proxy.
func viaProxy(t *testing.T) (*redistest.Proxy, rueidis.Client, rueidis.Client) {
	t.Helper()
	srv := redistest.Start(t)
	p := redistest.StartProxy(t, srv.Addr)
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{p.Addr}, ForceSingleClient: true, DisableRetry: true, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return p, c, redistest.Client(t, srv)
}

func TestProxyFaults(t *testing.T) {
	const script = "return redis.call('INCR', KEYS[1])"
	lua := rueidis.NewLuaScript(script)
	incr := func(c rueidis.Client) error {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return lua.Exec(ctx, c, []string{"n"}, nil).Error()
	}
	for _, tc := range []struct {
		name  string
		fault redistest.Fault
		after string // the value then
	}{{"request", redistest.DropRequest, "1"}, {"reply", redistest.DropReply, "2"}} {
		t.Run(tc.name, func(t *testing.T) {
			p, c, direct := viaProxy(t)
			if err := incr(c); err != nil {
				t.Fatal(err)
			}
			trap := p.Trap(redistest.ScriptCall(script), tc.fault)
			if err := incr(c); err == nil {
				t.Error("the call succeeds")
			}
			<-trap.Sprung()
			if n, _ := redistest.Do(t, direct, "GET", "n").ToString(); n != tc.after {
				t.Errorf("executed %s times: want %s", n, tc.after)
			}
			if err := incr(c); err != nil {
				t.Errorf("the next call: %v", err)
			}
		})
	}
}

func TestProxyHoldsAndRetargets(t *testing.T) {
	p, c, direct := viaProxy(t)
	trap := p.Trap(redistest.Command("set"), redistest.Hold)
	done := make(chan error, 1)
	go func() { done <- c.Do(context.Background(), c.B().Set().Key("k").Value("v").Build()).Error() }()
	<-trap.Sprung()
	if n := redistest.Int(t, direct, "EXISTS", "k"); n != 0 {
		t.Error("a held command was executed")
	}
	trap.Pass()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := redistest.Int(t, direct, "EXISTS", "k"); n != 1 {
		t.Error("a passed command was not executed")
	}
	p.Retarget(redistest.Start(t).Addr)
	var found int64 = 1
	for end := time.Now().Add(time.Minute); found == 1 && time.Now().Before(end); {
		if n, err := c.Do(context.Background(), c.B().Exists().Key("k").Build()).AsInt64(); err == nil {
			found = n
		}
	}
	if found != 0 {
		t.Error("it still asks the old server")
	}
}
