package main

import (
	"context"
	"fmt"
	"time"

	"github.com/pillion-proxy/pillion/cache"
)

const (
	tagPurges  = 20 // tags that are purged, each once
	tagEntries = 25 // entries of each tag
)

// tags has all pods hold entries and the purge marks of their tags, and purges the tags.
// Then the entries are asked for again, on all pods: one stores each anew, the others read it.
func tags(ctx context.Context, o options) (*table, error) {
	t := &table{title: fmt.Sprintf("tags: a purge of a tag of %d entries that all pods hold, and what asking for the entries again costs", tagEntries), columns: []column{
		{"pods", 0}, {"pushes/purge", 2}, {"commands/purge", 2}, {"CPU us/purge", 0}, {"mark reads/purge", 2},
		{"pushes/fill", 2}, {"commands/fill", 2}, {"reads/entry", 2}, {"commands/entry", 1}, {"CPU us/entry", 0},
	}}
	for _, n := range o.pods {
		if err := tagStep(ctx, n, t); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// tagged are the tags, their marks, and the entries.
type tagged struct {
	tags, marks, entries []string
}

func newTagged() tagged {
	g := tagged{entries: entryKeys(tagPurges * tagEntries)}
	for i := range tagPurges {
		g.tags = append(g.tags, fmt.Sprintf("product:%d", i))
		g.marks = append(g.marks, cache.TagName(defaults().Prefix, []byte(g.tags[i])))
	}
	return g
}

func tagStep(ctx context.Context, n int, t *table) error {
	r, err := with(ctx, n, patient())
	if err != nil {
		return err
	}
	defer r.close()
	g := newTagged()
	if err := r.set(ctx, g.entries, entry()); err != nil {
		return err
	}
	if err := r.readAll(ctx, g.entries); err != nil {
		return err
	}
	if err := r.readMarks(ctx, g.marks); err != nil {
		return err
	}
	before := r.invalidations()
	purge, err := r.during(ctx, func() error { return r.purge(ctx, g.tags, before) })
	if err != nil {
		return err
	}
	purgePushes := float64(r.invalidations() - before)
	marks, err := r.during(ctx, func() error { return r.readMarks(ctx, g.marks) })
	if err != nil {
		return err
	}
	before = r.invalidations()
	fill, err := r.during(ctx, func() error { return r.fill(ctx, g.entries, before) })
	if err != nil {
		return err
	}
	fillPushes := float64(r.invalidations() - before)
	reads, err := r.during(ctx, func() error { return r.readAll(ctx, g.entries) })
	if err != nil {
		return err
	}
	purges, entries := float64(len(g.tags)), float64(len(g.entries))
	t.add(float64(n), purgePushes/purges, purge.work()/purges, purge.cpu()/purges*1e6, marks.calls("get")/purges,
		fillPushes/entries, fill.work()/entries, reads.calls("get")/entries, (fill.work()+reads.work())/entries, (fill.cpu()+reads.cpu())/entries*1e6)
	return nil
}

// readMarks has every pod look at every mark, as a hit does: in memory, or once in Redis.
func (r *rig) readMarks(ctx context.Context, marks []string) error {
	return times(len(r.pods), func(i int) error {
		for _, m := range marks {
			if _, err := r.pods[i].store.Mark(ctx, []byte(m), time.Now()); err != nil {
				return err
			}
		}
		return nil
	})
}

// purge purges tags, each on one pod, and waits until all pods have heard of it.
func (r *rig) purge(ctx context.Context, tags []string, before uint64) error {
	for i, tag := range tags {
		if err := r.pods[i%len(r.pods)].store.PurgeTag(ctx, tag); err != nil {
			return err
		}
	}
	return r.told(ctx, before, len(tags)*len(r.pods))
}

// fill stores each entry anew, from one pod, and waits until all pods have heard of it.
func (r *rig) fill(ctx context.Context, entries []string, before uint64) error {
	for i, key := range entries {
		s := r.pods[i%len(r.pods)].store
		lease, err := s.Begin(ctx, key+":lease")
		if err != nil {
			return err
		}
		if lease == nil {
			return fmt.Errorf("the lease of %s is taken", key)
		}
		stored, err := s.Put(ctx, lease, key, []byte(entry()), time.Hour)
		if err != nil {
			return err
		}
		if !stored {
			return fmt.Errorf("%s was not stored", key)
		}
	}
	return r.told(ctx, before, len(entries)*len(r.pods))
}
