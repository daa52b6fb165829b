package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// hotKeys is how many keys are written in turn.
	hotKeys = 20
	// enoughWrites are those a second from which on the CPU time is that of the writes.
	enoughWrites = 100
)

// hot has all pods hold the same few keys and read each again as soon as it has changed,
// which is the worst that pods do: as if each had a request for each key at any moment.
func hot(ctx context.Context, o options) (*table, error) {
	t := &table{title: "hot: keys that all pods hold are written, and all pods read them again at once", columns: []column{
		{"pods", 0}, {"asked writes/s", 0}, {"writes/s", 0}, {"pushes/write", 2}, {"reads/write", 2}, {"commands/s", 0}, {"CPU %", 1}, {"CPU us/write", 0},
		{"bytes out/write", 0}, {"last pod p50 ms", 2}, {"last pod p99 ms", 2}, {"writes seen", 0}, {"largest output buffer", 0}, {"connections lost", 0},
	}}
	for _, n := range o.pods {
		for _, w := range o.writes {
			if err := hotStep(ctx, o, n, w, t); err != nil {
				return nil, err
			}
		}
	}
	for _, w := range o.writes {
		if w >= enoughWrites { // else the CPU time of Redis's own clock is most of it
			t.fitHot(w)
		}
	}
	return t, nil
}

// budget is the share of a core that Redis should need at most, so that a peak finds room.
const budget = 0.6

// fitHot notes what a write costs by the pods that it is pushed to, at one rate, and how
// many pods are in the budget.
func (t *table) fitHot(perSecond int) {
	var pushes, cpu []float64
	for i, asked := range t.series("asked writes/s") {
		if asked == float64(perSecond) {
			pushes, cpu = append(pushes, t.series("pushes/write")[i]), append(cpu, t.series("CPU us/write")[i])
		}
	}
	l := fitLine(pushes, cpu)
	t.note("at %d writes/s: CPU us/write = %.4g + %.4g x pods that hold the key (R2 %.3f); %.0f%% of a core at %.0f pods",
		perSecond, l.at0, l.slope, l.r2, 100*budget, (budget*1e6/float64(perSecond)-l.at0)/l.slope)
}

func hotStep(ctx context.Context, o options, n, perSecond int, t *table) error {
	r, err := with(ctx, n, patient())
	if err != nil {
		return err
	}
	defer r.close()
	h := newHot(r)
	if err := r.set(ctx, h.names(), entry()); err != nil {
		return err
	}
	if err := h.watch(ctx); err != nil {
		return errors.Join(err, h.stop())
	}
	// A few writes at least, whatever the rate.
	window := max(o.window, 5*time.Second/time.Duration(perSecond))
	before := r.invalidations()
	s, err := r.during(ctx, func() error { return h.write(ctx, perSecond, window) })
	pushes := float64(r.invalidations() - before)
	if err = errors.Join(err, h.stop()); err != nil {
		return err
	}
	writes := s.calls("set")
	t.add(float64(n), float64(perSecond), writes/s.seconds(), pushes/writes, s.calls("get")/writes, s.commands()/s.seconds(),
		100*s.cpu()/s.seconds(), s.cpu()/writes*1e6, s.out()/writes,
		milliseconds(quantile(h.last, 0.5)), milliseconds(quantile(h.last, 0.99)), float64(len(h.last)),
		s.to.number("client_recent_max_output_buffer"), s.grown("total_connections_received"))
	return nil
}

// hotKey is one that all pods watch.
type hotKey struct {
	name    string
	written atomic.Int64 // when the last write was sent, in nanoseconds after the start
	last    atomic.Int64 // how long after that the last pod was told so far
	told    atomic.Int64 // how many pods were
}

// hotRun is a run of scenario hot. Its goroutines are one for each pod and key.
type hotRun struct {
	rig     *rig
	keys    []*hotKey
	zero    time.Time
	readers sync.WaitGroup
	end     context.CancelFunc
	failed  atomic.Pointer[error]
	sent    int             // writes
	last    []time.Duration // of each write that a pod was told of
}

func newHot(r *rig) *hotRun {
	h := &hotRun{rig: r, zero: time.Now(), end: func() {}}
	for _, name := range entryKeys(hotKeys) {
		h.keys = append(h.keys, &hotKey{name: name})
	}
	return h
}

func (h *hotRun) names() []string {
	var list []string
	for _, k := range h.keys {
		list = append(list, k.name)
	}
	return list
}

// watch starts the readers and returns when each has read its key.
func (h *hotRun) watch(ctx context.Context) error {
	ctx, h.end = context.WithCancel(ctx)
	var warm sync.WaitGroup
	for _, p := range h.rig.pods {
		for _, k := range h.keys {
			warm.Add(1)
			h.readers.Go(func() { h.read(ctx, p, k, warm.Done) })
		}
	}
	warm.Wait()
	return h.err()
}

// read reads the key again each time that Redis says that it has changed.
func (h *hotRun) read(ctx context.Context, p *pod, k *hotKey, warm func()) {
	changed, stop := p.conn.Watch(k.name)
	defer stop()
	_, err := p.store.Get(ctx, []byte(k.name))
	warm()
	for err == nil {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		k.note(time.Since(h.zero))
		_, err = p.store.Get(ctx, []byte(k.name))
	}
	if ctx.Err() == nil {
		h.failed.CompareAndSwap(nil, &err)
	}
}

func (k *hotKey) note(now time.Duration) {
	took := int64(now) - k.written.Load()
	k.told.Add(1)
	for old := k.last.Load(); took > old && !k.last.CompareAndSwap(old, took); old = k.last.Load() {
	}
}

func (h *hotRun) err() error {
	if err := h.failed.Load(); err != nil {
		return *err
	}
	return nil
}

func (h *hotRun) stop() error {
	h.end()
	h.readers.Wait()
	return h.err()
}

// write writes the keys in turn. When Redis does not keep up, fewer are written.
func (h *hotRun) write(ctx context.Context, perSecond int, window time.Duration) error {
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	end := time.Now().Add(window)
	for i := 0; time.Now().Before(end); i++ {
		k := h.keys[i%len(h.keys)]
		h.collect(k)
		k.written.Store(int64(time.Since(h.zero)))
		if err := h.rig.set(ctx, []string{k.name}, entry()); err != nil {
			return err
		}
		h.sent++
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	for _, k := range h.keys {
		h.collect(k)
	}
	return h.err()
}

// collect takes what is known of the key's last write.
func (h *hotRun) collect(k *hotKey) {
	if k.told.Swap(0) > 0 {
		h.last = append(h.last, time.Duration(k.last.Swap(0)))
	}
}

// quantile sorts the samples; of few, a high quantile is the largest.
func quantile(samples []time.Duration, q float64) time.Duration {
	if len(samples) == 0 {
		return 0
	}
	slices.Sort(samples)
	return samples[min(int(q*float64(len(samples))), len(samples)-1)]
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
