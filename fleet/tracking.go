package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/redis/rueidis"
)

// trackingTable has all pods read the same keys, then leaves all of them, and writes the
// keys: what the tracking table takes, what a read costs, and what an invalidation.
func trackingTable(ctx context.Context, o options) (*table, error) {
	t := &table{title: fmt.Sprintf("table: each pod reads the same %d keys, then each key is written once, and nobody reads it again", o.keys), columns: []column{
		{"pods", 0}, {"tracked keys", 0}, {"tracked items", 0}, {"bytes/key", 0}, {"commands/read", 2}, {"CPU us/read", 1},
		{"pushes/write", 2}, {"CPU us/write", 1}, {"bytes out/write", 0}, {"items when pods left", 0}, {"items after writes", 0},
	}}
	for _, n := range o.pods {
		if err := tableStep(ctx, o, n, t); err != nil {
			return nil, err
		}
	}
	t.fit("pods", "bytes/key", "")
	t.fit("pods", "CPU us/write", "")
	t.fit("pods", "bytes out/write", "")
	return t, nil
}

func tableStep(ctx context.Context, o options, n int, t *table) error {
	keys := entryKeys(o.keys)
	r, err := with(ctx, n, patient())
	if err != nil {
		return err
	}
	defer r.close()
	if err := r.set(ctx, keys, entry()); err != nil {
		return err
	}
	reads, err := r.during(ctx, func() error { return r.readAll(ctx, keys) })
	if err != nil {
		return err
	}
	some := keys[:min(len(keys), 200)]
	writes, pushes, err := r.writeEach(ctx, some)
	if err != nil {
		return err
	}
	if err := r.readAll(ctx, some); err != nil {
		return err
	}
	table, err := r.emptyTable(ctx, keys)
	if err != nil {
		return err
	}
	nReads, nWrites := float64(n*len(keys)), writes.calls("set")
	t.add(float64(n), reads.to.number("tracking_total_keys"), reads.to.number("tracking_total_items"),
		-table.grown("used_memory")/float64(len(keys)), reads.work()/nReads, reads.cpu()/nReads*1e6, float64(pushes)/nWrites,
		writes.cpu()/nWrites*1e6, writes.out()/nWrites, table.from.number("tracking_total_items"), table.to.number("tracking_total_items"))
	return nil
}

// writeEach writes keys, one each few milliseconds, so that each is pushed by itself as it
// is in life, and waits until all pods have heard of all.
func (r *rig) writeEach(ctx context.Context, keys []string) (s span, pushes uint64, err error) {
	before := r.invalidations()
	s, err = r.during(ctx, func() error {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for _, k := range keys {
			if err := r.set(ctx, []string{k}, entry()); err != nil {
				return err
			}
			<-tick.C
		}
		return r.told(ctx, before, len(keys)*len(r.pods))
	})
	return s, r.invalidations() - before, err
}

// emptyTable ends the pods, and then changes all keys, without a change of their size: the
// table forgets a pod that has gone only with the key. What that frees was the table's.
func (r *rig) emptyTable(ctx context.Context, keys []string) (span, error) {
	pods := len(r.pods)
	r.leave()
	err := await(ctx, "redis sees that the pods have gone", func() (bool, error) {
		list, err := r.clients(ctx)
		return len(list) == 0, err
	})
	if err != nil {
		return span{}, fmt.Errorf("of %d: %w", pods, err)
	}
	return r.during(ctx, func() error {
		for batch := range slices.Chunk(keys, 50) { // a long pipeline would make buffers grow
			cmds := make(rueidis.Commands, 0, len(batch))
			for _, k := range batch {
				cmds = append(cmds, r.app.B().Setrange().Key(k).Offset(0).Value("y").Build())
			}
			for _, reply := range r.app.DoMulti(ctx, cmds...) {
				if err := reply.Error(); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// overflowKeys is tracking-table-max-keys of scenario overflow.
const overflowKeys = 1000

// overflow has one pod use more keys than the tracking table may have, again and again:
// Redis takes keys out at random and says so, and the pod has to read them again.
func overflow(ctx context.Context, o options) (*table, error) {
	t := &table{title: fmt.Sprintf("overflow: tracking-table-max-keys %d, one pod that uses a set of keys over and over", overflowKeys), columns: []column{
		{"keys in use", 0}, {"tracked keys", 0}, {"hits %", 1}, {"pushes/use", 3}, {"commands/use", 2},
	}}
	for _, times := range []float64{0.5, 0.9, 1.1, 1.5, 2, 4} {
		if err := overflowStep(ctx, int(times*overflowKeys), t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func overflowStep(ctx context.Context, n int, t *table) error {
	r, err := with(ctx, 1, patient(), "--tracking-table-max-keys", fmt.Sprint(overflowKeys))
	if err != nil {
		return err
	}
	defer r.close()
	keys := entryKeys(n)
	if err := r.set(ctx, keys, entry()); err != nil {
		return err
	}
	p, hits, uses := r.pods[0], 0, 0
	use := func() error {
		for _, k := range keys {
			uses++
			if p.store.Peek([]byte(k), time.Now()) != nil {
				hits++
			} else if _, err := p.store.Get(ctx, []byte(k)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := use(); err != nil { // the first round fills memory and the table
		return err
	}
	hits, uses = 0, 0
	before := r.invalidations()
	s, err := r.during(ctx, func() error {
		for range 5 {
			if err := use(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.add(float64(n), s.to.number("tracking_total_keys"), 100*float64(hits)/float64(uses),
		float64(r.invalidations()-before)/float64(uses), s.work()/float64(uses))
	return nil
}
