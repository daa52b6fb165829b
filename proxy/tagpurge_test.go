package proxy_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/pillion-proxy/pillion/cache"
	"github.com/pillion-proxy/pillion/proxy"
)

// A purge of a tag is one write, whether one entry has the tag or TAG_ENTRIES (100,000
// under make coherence).
func TestTagPurgeCostsTheSameForAnyNumberOfEntries(t *testing.T) {
	many := envSize(t, "TAG_ENTRIES", 20_000)
	r := newRig(t, []proxy.Rule{
		rule("one", "/one/{id}", ttl(time.Hour), func(r *proxy.Rule) { r.Cache.Tags = []string{"one"} }),
		rule("many", "/many/{id}", ttl(time.Hour), func(r *proxy.Rule) { r.Cache.Tags = []string{"many"} }),
	}, echo, 2)
	a, b := r.pods[0], r.pods[1]
	storeEntries(t, r, "one", 1)
	storeEntries(t, r, "many", many)
	sampled := []string{"/one/0"}
	for i := 0; i < many; i += max(1, many/100) {
		sampled = append(sampled, fmt.Sprintf("/many/%d", i))
	}
	status := func(p *pod, path string) string { return p.do(t, "GET", path, "Host", "h").cacheStatus() }
	for _, path := range sampled {
		for _, p := range r.pods {
			if got := status(p, path); !strings.Contains(got, "; hit") {
				t.Fatalf("%s was stored, but: %s", path, got)
			}
		}
	}
	if n := r.calls.Load(); n != 0 {
		t.Fatalf("%d calls of the application before the purge", n)
	}
	for _, tag := range []string{"one", "many"} {
		took := purgeCounted(t, r, a, tag)
		t.Logf("the tag %q, of %d entries: one SET and the EXISTS behind it, in %s", tag, map[string]int{"one": 1, "many": many}[tag], took)
	}
	for _, path := range sampled {
		if got := status(a, path); strings.Contains(got, "hit") {
			t.Errorf("%s after the purge: %s", path, got)
		}
		// A has stored it anew, so a hit on B must be of that.
		eventually(t, path+" is A's new one on B", func() bool { return b.do(t, "GET", path, "Host", "h").body == "GET "+path+" user=" })
	}
	t.Logf("each again, 200 times: %s", repeatedPurges(t, a, "one", "many"))
}

// storeEntries writes what a fill would have stored, by the means that it would use.
func storeEntries(t *testing.T, r *rig, tag string, n int) {
	t.Helper()
	now := time.Now()
	cmds := make(rueidis.Commands, 0, 1000)
	flush := func() {
		for _, res := range r.other.DoMulti(context.Background(), cmds...) {
			must(t, res.Error())
		}
		cmds = cmds[:0]
	}
	for i := range n {
		path := fmt.Sprintf("/%s/%d", tag, i)
		key, ok := cache.AppendKey(nil, &cache.KeyParts{Scope: cache.ScopePublic, Host: []byte("h"), Path: []byte(path)})
		if !ok {
			t.Fatal("no key")
		}
		e := cache.Entry{
			Kind: cache.KindResponse, Status: 200, StoredAt: now.UnixMilli(), FillStart: now.UnixMilli(), Lifetime: time.Hour,
			Key: key, Tags: []cache.TagMark{{Tag: []byte(tag)}},
			Header: cache.AppendHeader(nil, cache.Header{{Name: []byte("Content-Type"), Value: []byte("text/plain")}}), Body: []byte("stored " + path),
		}
		name := cache.KeyName("pillion:", cache.HashKey(key))
		cmds = append(cmds, r.other.B().Set().Key(name).Value(rueidis.BinaryString(cache.Encode(nil, &e))).Px(time.Hour).Build())
		if len(cmds) == cap(cmds) {
			flush()
		}
	}
	flush()
}

// purgeCounted purges, and fails unless that was exactly one SET and its barrier.
func purgeCounted(t *testing.T, r *rig, p *pod, tag string) time.Duration {
	t.Helper()
	before := commandCalls(t, r)
	began := time.Now()
	must(t, p.store.PurgeTag(context.Background(), tag))
	took := time.Since(began)
	diff := commandCalls(t, r)
	maps.DeleteFunc(diff, func(name string, n int) bool {
		diff[name] -= before[name]
		return diff[name] == 0 || name == "ping" || name == "info" // heartbeats, and this
	})
	if !maps.Equal(diff, map[string]int{"set": 1, "exists": 1}) {
		t.Errorf("a purge of the tag %q cost %v, want one SET and one EXISTS", tag, diff)
	}
	return took
}

// commandCalls gives how often each command was called since the server's start.
func commandCalls(t *testing.T, r *rig) map[string]int {
	t.Helper()
	info, err := r.other.Do(context.Background(), r.other.B().Info().Section("commandstats").Build()).ToString()
	must(t, err)
	calls := make(map[string]int)
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if !ok {
			continue
		}
		count, _, _ := strings.Cut(rest, ",")
		n, err := strconv.Atoi(count)
		must(t, err)
		calls[name] = n
	}
	return calls
}

// repeatedPurges gives the medians of purges that take turns.
func repeatedPurges(t *testing.T, p *pod, tags ...string) string {
	t.Helper()
	took := make(map[string]*lags)
	for range 200 {
		for _, tag := range tags {
			if took[tag] == nil {
				took[tag] = new(lags)
			}
			began := time.Now()
			must(t, p.store.PurgeTag(context.Background(), tag))
			took[tag].all = append(took[tag].all, time.Since(began))
		}
	}
	var b strings.Builder
	for _, tag := range slices.Sorted(maps.Keys(took)) {
		fmt.Fprintf(&b, "%s: %s; ", tag, took[tag])
	}
	return strings.TrimSuffix(b.String(), "; ")
}
