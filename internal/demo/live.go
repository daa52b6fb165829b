package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// watch shows the guide, then what happens, until ctx ends. The error is pillion's,
// when it ended by itself.
func (r *rig) watch(ctx context.Context) error {
	r.guide()
	marks := purges{rig: r}
	marks.look(ctx) // those of before are no news
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		r.screen.status(r.numbers())
		select {
		case <-ctx.Done():
			return nil
		case <-r.done:
			return fmt.Errorf("pillion ended by itself: %w", r.sideErr)
		case <-tick.C:
		}
		for _, tag := range marks.look(ctx) {
			r.event("purged tag " + tag + ": its mark in Redis is new")
		}
	}
}

// numbers is the live line. It fits a line of eighty characters for long.
func (r *rig) numbers() string {
	m := r.metrics()
	redis := "DOWN"
	if m.sum("pillion_redis_up", "") > 0 {
		redis = "up, untracked"
		if m.sum("pillion_redis_tracking", "") > 0 {
			redis = "up, tracking"
		}
	}
	return fmt.Sprintf("requests %d | hits %d | app calls %d | refused %d | tasks %d | redis %s",
		m.sum("pillion_requests_total", ""),
		m.sum("pillion_requests_total", "hit"),
		r.app.pages(),
		m.sum("pillion_requests_total", "unauthorized"),
		r.app.delivered(), redis)
}

// sample is one number of a metric.
type sample struct {
	labels []string // values only
	value  float64
}

// samples are pillion's counters and gauges by name.
type samples map[string][]sample

func (r *rig) metrics() samples {
	out := make(samples)
	families, _ := r.side.Metrics().Gather() // what could be gathered is enough to show
	for _, f := range families {
		for _, m := range f.GetMetric() {
			s := sample{value: m.GetCounter().GetValue() + m.GetGauge().GetValue()}
			for _, l := range m.GetLabel() {
				s.labels = append(s.labels, l.GetValue())
			}
			out[f.GetName()] = append(out[f.GetName()], s)
		}
	}
	return out
}

// sum adds up a metric's samples with this label value; all of them when it is empty.
func (s samples) sum(name, label string) (n int) {
	for _, one := range s[name] {
		if label == "" || strings.Join(one.labels, ",") == label {
			n += int(one.value)
		}
	}
	return n
}

// purges finds purge marks that are new. It is the demo's own look at Redis: pillion
// need not scan for them.
type purges struct {
	rig  *rig
	seen map[string]string
}

// maxMarks bounds how many marks are looked at.
const maxMarks = 1000

// look gives the tags whose mark is new or has changed since the last look.
func (p *purges) look(ctx context.Context) (tags []string) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	c := p.rig.app.redis
	const prefix = "pillion:t:"
	var keys []string
	for cursor, first := uint64(0), true; first || cursor != 0 && len(keys) < maxMarks; first = false {
		page, err := c.Do(ctx, c.B().Scan().Cursor(cursor).Match(prefix+"*").Count(1000).Build()).AsScanEntry()
		if err != nil {
			return nil // down: the live line says so
		}
		keys, cursor = append(keys, page.Elements...), page.Cursor
	}
	seen := make(map[string]string, len(keys))
	for _, k := range keys {
		mark, err := c.Do(ctx, c.B().Get().Key(k).Build()).ToString()
		if err != nil && !rueidis.IsRedisNil(err) {
			return nil
		}
		seen[k] = mark
		if p.seen[k] != mark {
			tags = append(tags, strings.TrimPrefix(k, prefix))
		}
	}
	p.seen = seen
	return tags
}
