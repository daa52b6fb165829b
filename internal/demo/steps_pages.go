package demo

import (
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

func (t *tour) ready(ctx context.Context, r *report) {
	s := readReady(ctx, t.http, t.rig.admin)
	mode := "untracked: hits come from memory for a moment, then Redis is asked"
	if s.Redis.Tracking {
		mode = "tracking: hits come from memory"
	}
	r.saw("GET /readyz (admin)", "%d  redis up: %t, %s", s.status, s.Redis.Up, mode)
	r.want(s.status == http.StatusOK && s.Ready && s.Redis.Up, "pillion must be ready and Redis up")
	r.want(s.Redis.Tracking == t.redis.tracking(), "tracking must be %t with this Redis", t.redis.tracking())
}

func (t *tour) missThenHit(ctx context.Context, r *report) {
	first := t.get(ctx, "/api/products/1")
	r.show(first, http.StatusOK)
	r.want(first.fresh() && first.calls == 1, "the first request must ask the application once")
	second := t.get(ctx, "/api/products/1?utm_id=7")
	r.show(second, http.StatusOK)
	r.hitOf(second, first)
	r.saw("", "the hit took %s, the page takes the application %s", short(second.took), short(effort))
}

// hitOf says that the answer must be the stored one, without a call.
func (r *report) hitOf(a, stored answer) {
	r.want(a.hit() && a.calls == 0, "%s: it must be a hit that does not ask the application", a.request)
	r.want(a.body == stored.body, "%s: a hit must be the stored answer, not %q", a.request, a.body)
	r.want(a.header.Get("Age") != "", "%s: a hit must have an Age", a.request)
}

func (t *tour) head(ctx context.Context, r *report) {
	get := t.get(ctx, "/api/products/1")
	head := t.request(ctx, http.MethodHead, "/api/products/1", "")
	r.show(head, http.StatusOK)
	r.want(head.hit() && head.calls == 0 && head.body == "", "HEAD must be a hit without a body")
	r.saw("", "Content-Length: %s, and no body", head.header.Get("Content-Length"))
	r.want(head.header.Get("Content-Length") == strconv.Itoa(len(get.body)), "its Content-Length must be %d, that of the page", len(get.body))
}

func (t *tour) negative(ctx context.Context, r *report) {
	first := t.get(ctx, "/api/products/999")
	r.show(first, http.StatusNotFound)
	r.want(first.calls == 1, "the first request must ask the application")
	for range 2 {
		again := t.get(ctx, "/api/products/999")
		r.show(again, http.StatusNotFound)
		r.hitOf(again, first)
	}
}

func (t *tour) stampede(ctx context.Context, r *report) {
	const crowd = 50
	answers := make([]answer, crowd)
	before, begin := t.rig.app.pages(), make(chan struct{})
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() {
			<-begin
			answers[i] = t.get(ctx, "/api/products/50")
		})
	}
	close(begin)
	all.Wait()
	fresh, collapsed, hits, good := 0, 0, 0, 0
	for _, a := range answers {
		switch {
		case a.hit():
			hits++
		case a.collapsed():
			collapsed++
		case a.fresh():
			fresh++
		}
		if a.status == http.StatusOK && a.body == answers[0].body {
			good++
		}
	}
	calls := t.rig.app.pages() - before
	r.saw("50 × GET /api/products/50", "%d × 200  application called %d×", good, calls)
	r.saw("", "%d asked it, %d waited for that answer, %d came later and hit", fresh, collapsed, hits)
	r.want(calls == 1, "the application must be called once, not %d times", calls)
	r.want(good == crowd, "all %d must get the same answer; %d did", crowd, good)
}

func (t *tour) purgeTag(ctx context.Context, r *report) {
	old, other := t.get(ctx, "/api/products/1"), t.get(ctx, "/api/products/2")
	other = t.get(ctx, "/api/products/2")
	r.show(old, http.StatusOK)
	r.show(other, http.StatusOK)
	r.want(old.hit() && other.hit(), "both products must be hits before the purge")
	err := t.rig.app.purge(ctx, "pillion:", "product:1", rand.Text())
	r.saw("SET pillion:t:product:1", "a random value, for nine days%s", orError(err))
	r.want(err == nil, "the write must succeed")
	var next answer
	// With tracking the news has to come from Redis first.
	took := r.eventually(ctx, "the purge to be seen", func() bool {
		next = t.get(ctx, "/api/products/1")
		return !next.hit()
	})
	r.show(next, http.StatusOK)
	r.saw("", "%s after the write", short(took))
	r.want(next.fresh() && next.calls == 1 && next.body != old.body, "the purged product must be made anew")
	r.sameHit(t.get(ctx, "/api/products/2"), other)
	r.sameHit(t.get(ctx, "/api/products/1"), next)
}

// sameHit shows an answer that must be a hit of what was stored.
func (r *report) sameHit(a, stored answer) {
	r.show(a, stored.status)
	r.hitOf(a, stored)
}

func (t *tour) purgeURL(ctx context.Context, r *report) {
	old := t.get(ctx, "/api/products/2")
	r.want(old.hit(), "product 2 must be a hit before the purge")
	a := t.adminPost(ctx, "/purge", `{"url":"`+t.base+`/api/products/2"}`)
	r.saw(a.request+" (admin)", "%d  %s", a.status, strings.TrimSpace(a.body))
	r.want(a.status == http.StatusOK && a.field("found") == "true", "the purge must find the stored page")
	next := t.get(ctx, "/api/products/2")
	r.show(next, http.StatusOK)
	r.want(next.fresh() && next.calls == 1 && next.body != old.body, "the purged page must be made anew")
	r.sameHit(t.get(ctx, "/api/products/2"), next)
}

func (t *tour) adminPost(ctx context.Context, path, body string) answer {
	a := answer{request: "POST " + path, header: make(http.Header)}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+t.rig.admin+path, io.NopCloser(strings.NewReader(body)))
	if err != nil {
		a.err = err
		return a
	}
	a.do(t.http, req)
	return a
}
